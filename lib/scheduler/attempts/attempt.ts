import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { GraphStage } from "../../pipeline/graph.ts";
import { digest } from "../../store/digest.ts";
import { writeDurably } from "../../store/durable.ts";
import type { Manifest } from "../../store/manifest.ts";
import { newMark } from "./channel.ts";
import type { Spec } from "./child.ts";
import { type Context, readyRuntimes, taskOf } from "../context.ts";
import type { Decided } from "../decisions/decide.ts";
import type { Event } from "../events.ts";
import type { Executor } from "../executors/executor.ts";
import { freeze } from "../keys/frozen.ts";
import type { HeldGpus } from "../limits/gpus.ts";
import { CHILD } from "../code/listing.ts";
import { ownOrigin } from "./own_origin.ts";
import { permissionFlags, stageEnvironment } from "./permissions.ts";
import { follow } from "./process.ts";
import { projectFlags } from "../code/project.ts";
import type { RunFolder } from "./run_folder.ts";
import { withAbsoluteSources } from "../keys/source.ts";

/** What an attempt at a stage needs. */
export interface AttemptOptions {
  readonly results: ReadonlyMap<string, Manifest>;
  readonly executor: Executor;
  readonly gpus: HeldGpus;
  /** Folder that the stage may go on from and leave checkpoints in. */
  readonly checkpoint: string;
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

/** What an attempt that succeeded measured. */
export interface Measured {
  readonly started: string;
  readonly seconds: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Runs a stage's process once. Its artifact is in the folder's `output` then.
 *
 * @throws {StageFailure} If it failed.
 * @throws {MovedError} If code or sources are no longer those of the key.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
export async function attempt(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  options: AttemptOptions,
): Promise<Measured> {
  const { results, executor, gpus, checkpoint, emit, signal } = options;
  const { settings } = context;
  const runtimes = await readyRuntimes(context, stage);
  const frozen = await freeze(context, stage, decided, results, folder.inputs);
  const mark = newMark();
  const spec: Spec = {
    mark,
    params: withAbsoluteSources(stage.params, frozen.sources),
    inputs: frozen.inputs,
    output: folder.output,
    checkpoint,
    cpus: stage.resources.cpus,
    runtimes: Object.fromEntries(
      [...runtimes].map(([name, { settings }]) => [name, settings]),
    ),
  };
  Deno.writeTextFileSync(folder.spec, JSON.stringify(spec));
  const { permissions = {} } = await taskOf(stage);
  const needed = [...runtimes.values()];
  using origin = ownOrigin();
  const started = new Date();
  const clock = performance.now();
  const execution = executor.start({
    args: [
      "run",
      "--quiet",
      "--no-check",
      "--no-remote",
      "--cached-only",
      ...origin.flags,
      ...projectFlags(settings.project),
      ...permissionFlags(permissions, {
        read: [folder.inputs, ...frozen.sources.values()],
        write: [folder.output, checkpoint, folder.temporary],
      }, needed),
      entryOf(stage, context),
    ],
    input: folder.spec,
    env: {
      ...stageEnvironment(permissions, needed, folder.temporary),
      CUDA_VISIBLE_DEVICES: gpus.ids.join(),
    },
    startsPrograms: needed.length > 0 || (permissions.run ?? []).length > 0,
    folder: folder.path,
  });
  const metrics = await follow(execution, {
    stage: stage.id,
    mark,
    emit,
    onReady: () => frozen.checkCode(),
    timeout: stage.timeout ?? stage.resources.time,
    grace: settings.grace,
    signal,
  });
  const seconds = (performance.now() - clock) / 1000;
  frozen.check();
  return {
    started: started.toISOString(),
    seconds: Math.round(seconds * 1000) / 1000,
    metrics,
  };
}

/** Files of a task's code that are modules; the others are settings of the project. */
const MODULE = /\.[cm]?[jt]sx?$/;

/**
 * The module that a stage's process starts from. It names the task's modules
 * literally, which needs no permission to read the project: also those that
 * the task imports only when it runs, deferred, so that all code is read
 * before the process is ready and none is evaluated before its time.
 */
function entryOf(stage: GraphStage, context: Context): string {
  const { code, store } = context;
  const modules = code.get(stage.module)!.files
    .map(([path]) => pathToFileURL(path).href)
    .filter((url) => MODULE.test(url) && url !== stage.module);
  const text = [
    `import { perform } from ${JSON.stringify(CHILD)};`,
    `import task from ${JSON.stringify(stage.module)};`,
    ...modules.map((url, i) =>
      `import defer * as module${i} from ${JSON.stringify(url)};`
    ),
    "await perform(task);\n",
  ].join("\n");
  const name = `${stage.task.replaceAll(/\W+/g, "-")}-${
    digest(text).slice(0, 8)
  }.js`;
  const path = join(store.makeFolder("entries"), name);
  try {
    if (Deno.readTextFileSync(path) === text) return pathToFileURL(path).href;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  writeDurably(path, text);
  return pathToFileURL(path).href;
}
