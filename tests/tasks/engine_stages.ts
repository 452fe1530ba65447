import { join } from "node:path";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import type { Stage, Task } from "../../lib/pipeline/task.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import tokenize from "../../tasks/tokenize.ts";
import {
  runSandboxed,
  type SandboxedResult,
  type SandboxOptions,
} from "./run_sandboxed.ts";
import { runTask, withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

type Params = Readonly<Record<string, unknown>>;
type Inputs = Readonly<Record<string, string | readonly string[]>>;

/**
 * Stages of a model, by default the tiny RoBERTa, on a few examples of the tiny
 * RTE.
 */
export interface EngineStages {
  /** A folder for more artifacts. */
  readonly folder: string;
  /** The artifacts that trainings and evaluations need. */
  readonly given: { readonly model: string; readonly tokens: string };
  /**
   * Runs a task, which must succeed, in this process, where the engine is
   * started once; gives the folder of its artifact.
   */
  run(
    task: string,
    params: Params,
    inputs?: Inputs,
    given?: Partial<Stage<never>>,
  ): Promise<string>;
  /**
   * Runs a task in this process, whether it succeeds or not: its log, or why it
   * failed.
   */
  attempt(
    task: string,
    params: Params,
    inputs?: Inputs,
    given?: Partial<Stage<never>>,
  ): Promise<{ readonly code: 0 | 1; readonly text: string }>;
  /**
   * Runs a task as the scheduler does, in a process with the permissions that
   * it declares.
   */
  sandboxed(
    task: string,
    params: Params,
    inputs?: SandboxOptions["inputs"],
  ): Promise<SandboxedResult>;
}

/** Calls a function with stages whose artifacts are removed afterwards. */
export async function withEngineStages(
  body: (stages: EngineStages) => Promise<void>,
  model = join(fixtures, "tiny-roberta"),
): Promise<void> {
  const { engine, device, library, ...choice } = await selectEngine(
    "tensorflow",
  );
  await choice.prepare();
  const settings = { engine, device, library: library! };
  const runtimes = {
    engine: { ...choice, settings, prepare: () => Promise.resolve() },
  };
  await withFolder(async (folder) => {
    const inThisProcess = async (
      name: string,
      params: Params,
      inputs?: Inputs,
      given: Partial<Stage<never>> = {},
    ) => {
      const { default: task }: { default: Task } = await import(
        import.meta.resolve(`../../tasks/${name}.ts`)
      );
      return await runTask(task, folder, params, inputs, {
        runtimes: { engine: settings },
        ...given,
      });
    };
    const source = join(fixtures, "tiny-glue");
    const limit = { train: 64, validation: 32 };
    const params = { task: "rte", source, limit } as const;
    const { output: data } = await runTask(fetchGlue, folder, params);
    const { output: tokens } = await runTask(tokenize, folder, {}, {
      model,
      data,
    });
    await body({
      folder,
      given: { model, tokens },
      run: async (...args) => (await inThisProcess(...args)).output,
      async attempt(...args) {
        try {
          const { log } = await inThisProcess(...args);
          return { code: 0, text: log.join("\n") };
        } catch (error) {
          return { code: 1, text: (error as Error).message };
        }
      },
      sandboxed: (task, params, inputs = {}) =>
        runSandboxed(task, folder, params, { inputs, runtimes }),
    });
  });
}
