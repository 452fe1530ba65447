import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Context, readyRuntimes, taskOf } from "./context.ts";
import type { Event } from "./events.ts";
import { StageFailure, StageRestart, StaleKeyError } from "./failure.ts";
import type { HeldGpus } from "./gpus.ts";
import { sourceDigest, sourcePrints, withAbsoluteSources } from "./sources.ts";
import { executorOf, resourcesOf } from "./limits.ts";
import type { Decided } from "./plan.ts";
import type { Measured } from "./process.ts";
import { runTask } from "./run_task.ts";
import type { AttemptFolder, RunFolder } from "./runs.ts";
import { visibleFolder } from "./visible.ts";

/** Options of an attempt at a stage. */
interface AttemptOptions {
  /** Results of its inputs, by stage. */
  readonly results: ReadonlyMap<string, Manifest>;
  readonly gpus: HeldGpus | undefined;
  /** Creates the folder for checkpoints, given the fingerprints of the sources. */
  readonly checkpoint: (prints: string) => string;
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

/** Result of {@linkcode attempt}. */
export interface Attempted {
  /** Folder of the artifact. */
  readonly output: string;
  readonly measured: Measured;
}

/** Maximum number of times in a row that a process does not start. */
const MAX_STARTS = 3;

/**
 * Runs a stage's process, and again whenever a batch system ends it for reasons
 * of its own. The process of an earlier start may still live on a node that was
 * lost, so each start has a folder of its own.
 *
 * @throws {StageFailure} If it fails.
 * @throws {StaleKeyError} If a source has changed since the key was computed, or while the process ran.
 * @throws {DamagedBlobError} If the cache has lost an input or the code.
 */
export async function attempt(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: AttemptFolder,
  options: AttemptOptions,
): Promise<Attempted> {
  let left: number | undefined;
  let failed = 0;
  for (let number = 0;; number++) {
    const start = folder.start(number);
    try {
      return await runProcess(context, stage, decided, start, options, left);
    } catch (error) {
      if (!(error instanceof StageRestart)) throw error;
      const { message: line } = error;
      failed = error.hasStarted ? 0 : failed + 1;
      if (failed === MAX_STARTS) throw new StageFailure(line);
      left = error.left;
      options.emit({ type: "log", stage: stage.id, line, stream: "log" });
    }
  }
}

/**
 * Runs a stage's process once: the bundle that is in its key, on its inputs and
 * sources.
 *
 * @param left Seconds that are left of its timeout, if it is started again.
 * @throws {StageRestart} If it is to be started again.
 */
async function runProcess(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  options: AttemptOptions,
  left: number | undefined,
): Promise<Attempted> {
  const { gpus, emit, signal } = options;
  const { settings, store } = context;
  const runtimes = await readyRuntimes(context, stage);
  const inputs = await layOut(context, stage, decided, options.results, folder);
  await store.blobs.linkTo(decided.parts.code, folder.code);
  const before = sourcePrints(decided.sources);
  await checkSources(context, decided, before);
  const { permissions = {} } = await taskOf(stage);
  const measured = await runTask({
    stage: stage.id,
    task: stage.task,
    module: stage.module,
    project: settings.project,
    permissions,
    params: withAbsoluteSources(stage.params, decided.sources),
    inputs,
    sources: [...decided.sources.values()],
    folder,
    checkpoint: options.checkpoint(before),
    runtimes,
    resources: resourcesOf(context, stage),
    gpus: gpus?.ids,
    executor: executorOf(context, stage),
    left,
    grace: settings.grace,
    lastingPaths: lastingPaths(context, stage, folder),
    emit,
    signal,
  });
  await checkSources(context, decided, before);
  return { output: folder.output, measured };
}

/** Lays out the inputs of a stage in its run folder, as read-only hard links to blobs. Of their parts in the key, the task sees all but the digest. */
async function layOut(
  { store }: Context,
  stage: GraphStage,
  { parts }: Decided,
  results: ReadonlyMap<string, Manifest>,
  folder: RunFolder,
): Promise<Record<string, InputArtifact[]>> {
  const inputs: Record<string, InputArtifact[]> = {};
  for (const [name, ids] of Object.entries(stage.inputs)) {
    inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const path = join(folder.inputs, name, String(i));
      Deno.mkdirSync(path, { recursive: true });
      for (const { blob, path: file } of results.get(id)!.files) {
        await store.blobs.linkTo(blob, join(path, file));
      }
      const { content: _, ...seen } = parts.inputs[name]![i]!;
      inputs[name].push({ stage: name, matrix: {}, ...seen, path });
    }
  }
  return inputs;
}

/**
 * Compares sources with those of the key: their fingerprints, and the content of
 * files that were changed in the tick in which they were read.
 *
 * @throws {StaleKeyError} If one has changed, even if it has changed back.
 */
async function checkSources(
  { store }: Context,
  decided: Decided,
  before: string,
): Promise<void> {
  for (const [name, path] of decided.sources) {
    if (await sourceDigest(path, store) !== decided.parts.sources[name]) {
      throw new StaleKeyError(`source "${path}" changed`);
    }
  }
  if (sourcePrints(decided.sources) !== before) {
    const paths = [...decided.sources.values()].map((it) => `"${it}"`);
    throw new StaleKeyError(`${paths.join(" or ")} changed`);
  }
}

/**
 * Replaces paths in the run folder, which is removed after the run: those of
 * inputs by the visible folders of the stages that they come from, others by
 * paths relative to the run folder.
 */
function lastingPaths(
  { settings: { out }, graph: { pipeline } }: Context,
  stage: GraphStage,
  folder: RunFolder,
): (text: string) => string {
  const lasting = (path: string) =>
    path.replace(/^inputs\/([^/]+)\/(\d+)/, (all, name, i) => {
      const id = stage.inputs[name]?.[i];
      return id === undefined ? all : visibleFolder(out, pipeline, { id });
    });
  return (text) => {
    const [head, ...paths] = text.split(`${folder.path}/`);
    return head + paths.map(lasting).join("");
  };
}
