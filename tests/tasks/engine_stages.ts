import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { selectEngine } from "../../lib/engine/install/choose.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import tokenize from "../../tasks/tokenize.ts";
import {
  runSandboxed,
  type SandboxedResult,
  type SandboxOptions,
} from "./run_sandboxed.ts";
import { runTask, withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** Stages of a model, by default the tiny RoBERTa, on a few examples of the tiny RTE; each computes in its own process. */
export interface EngineStages {
  /** A folder for more artifacts. */
  readonly folder: string;
  /** The artifacts that trainings and evaluations need. */
  readonly given: { readonly model: string; readonly tokens: string };
  /** Runs a task, which must succeed; gives the folder of its artifact. */
  run(
    task: string,
    params: Readonly<Record<string, unknown>>,
    inputs?: SandboxOptions["inputs"],
  ): Promise<string>;
  /** Runs a task, whether it succeeds or not. */
  attempt(
    task: string,
    params: Readonly<Record<string, unknown>>,
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
    const attempt: EngineStages["attempt"] = (task, params, inputs = {}) =>
      runSandboxed(task, folder, params, { inputs, runtimes });
    const run: EngineStages["run"] = async (...args) => {
      const result = await attempt(...args);
      assertEquals(result.code, 0, result.text);
      return result.output;
    };
    const source = join(fixtures, "tiny-glue");
    const limit = { train: 64, validation: 32 };
    const params = { task: "rte", source, limit } as const;
    const { output: data } = await runTask(fetchGlue, folder, params);
    const { output: tokens } = await runTask(tokenize, folder, {}, {
      model,
      data,
    });
    await body({ folder, given: { model, tokens }, run, attempt });
  });
}
