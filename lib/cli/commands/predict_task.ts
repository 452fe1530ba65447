import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { loadTask } from "../../pipeline/load_task.ts";
import type { Spec } from "../../scheduler/child.ts";
import { CHILD } from "../../scheduler/bundle.ts";
import { local } from "../../scheduler/executors/local.ts";
import { allow, stageEnvironment } from "../../scheduler/permissions.ts";
import { follow } from "../../scheduler/process.ts";
import { makeStart } from "../../scheduler/runs.ts";
import type { Runtime } from "../../scheduler/settings.ts";
import { PROJECT } from "../arguments/options.ts";

/** A task to run without a pipeline and without the cache. */
interface TaskRun {
  /** The module of the task. */
  readonly file: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Folders of the inputs by name. */
  readonly inputs: Readonly<Record<string, string>>;
  /** Replaces temporary folders in a message by lasting ones. */
  readonly lastingPaths: (text: string) => string;
  readonly engine: Runtime;
  /** Ids of the GPUs to use. */
  readonly gpus: readonly string[];
  /** Existing, empty folder, the only one that the task may write to. */
  readonly folder: string;
  readonly signal: AbortSignal;
}

/** Seconds that an interrupted task may take to end. */
const GRACE = 10;

/**
 * Runs a task in a process of its own.
 *
 * @returns The folder of its artifact.
 * @throws {StageFailure} If it fails.
 */
export async function runTask(
  { file, params, inputs, lastingPaths, engine, gpus, folder, signal }: TaskRun,
): Promise<string> {
  const module = pathToFileURL(file).href;
  const task = await loadTask(module);
  await engine.prepare();
  const { path, output, temporary, ...run } = makeStart(join(folder, "run"));
  const checkpoint = join(folder, "checkpoint");
  Deno.mkdirSync(checkpoint);
  const cpus = navigator.hardwareConcurrency;
  const spec: Spec = {
    events: run.events,
    stdout: run.stdout,
    params: task.params.parse(params),
    inputs: Object.fromEntries(
      Object.entries(inputs).map(([name, path]) => [
        name,
        [{ stage: name, matrix: {}, path }],
      ]),
    ),
    output,
    checkpoint,
    cpus,
    runtimes: {
      engine: {
        ...engine.settings,
        ...engine.handsOn?.settings(join(folder, "compiled")),
      },
    },
  };
  Deno.writeTextFileSync(run.spec, JSON.stringify(spec));
  const entry = join(folder, "entry.js");
  Deno.writeTextFileSync(
    entry,
    `import { perform } from ${JSON.stringify(CHILD)};
import task from ${JSON.stringify(module)};
await perform(task);
`,
  );
  const job = {
    name: "predict",
    task: "predict",
    needs: ["engine"],
    checkpoint,
    resources: { cpus, gpus: gpus.length, memory: 0 },
    args: [
      "run",
      "--quiet",
      "--no-check",
      "--no-prompt",
      ...["--config", join(PROJECT, "deno.json"), "--frozen"],
      "--allow-read",
      ...allow("write", [folder]),
      "--allow-env",
      ...engine.flags,
      entry,
    ],
    env: {
      ...stageEnvironment({}, [engine], temporary),
      CUDA_VISIBLE_DEVICES: gpus.join(),
    },
    startsPrograms: true,
    folder: path,
  };
  await follow((onState) => local.start({ ...job, onState }), {
    stage: "predict",
    folder: path,
    emit() {},
    lastingPaths,
    timeout: undefined,
    grace: GRACE,
    signal,
  });
  return output;
}
