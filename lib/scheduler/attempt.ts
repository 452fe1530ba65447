import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Fingerprint, same } from "../store/stats.ts";
import { type Context, readyRuntimes, stageOf, taskOf } from "./context.ts";
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

/** Fingerprints of files; undefined for those that do not exist. */
type Prints = readonly (Fingerprint | undefined)[];

/** Options of an attempt at a stage. */
interface AttemptOptions {
  /** Results of its inputs, by stage. */
  readonly results: ReadonlyMap<string, Manifest>;
  readonly gpus: HeldGpus | undefined;
  /** Creates the folder for checkpoints, given the fingerprints of the sources' files. */
  readonly checkpoint: (sources: Prints) => string;
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
  const inputs = await layOut(context, stage, options.results, folder);
  await store.blobs.linkTo(decided.parts.code, folder.code);
  const before = printsOf(decided);
  await checkSources(context, decided, before);
  const { permissions = {} } = await taskOf(stage);
  const measured = await runTask({
    name: stage.id,
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

/** Folder of an input in the run folder. */
function inputFolder(folder: RunFolder, name: string, index: number): string {
  return join(folder.inputs, name, String(index));
}

/** Lays out the inputs of a stage in its run folder, as read-only hard links to blobs. */
async function layOut(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
  folder: RunFolder,
): Promise<Record<string, InputArtifact[]>> {
  const { timings, inputs: declared } = stage.declaration;
  const inputs: Record<string, InputArtifact[]> = {};
  for (const [name, ids] of Object.entries(stage.inputs)) {
    const many = declared[name]?.many === true;
    inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const { files, seconds, metrics } = results.get(id)!;
      const path = inputFolder(folder, name, i);
      Deno.mkdirSync(path, { recursive: true });
      for (const { blob, path: file } of files) {
        await context.store.blobs.linkTo(blob, join(path, file));
      }
      inputs[name].push({
        stage: many ? id : name,
        matrix: many ? stageOf(context, id).matrix : {},
        path,
        ...(timings && { seconds, metrics }),
      });
    }
  }
  return inputs;
}

function printsOf({ sources }: Decided): Prints {
  return [...sources.values()].flatMap(sourcePrints);
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
  before: Prints,
): Promise<void> {
  for (const [name, path] of decided.sources) {
    if (await sourceDigest(path, store) !== decided.parts.sources[name]) {
      throw new StaleKeyError(`source "${path}" changed`);
    }
  }
  const now = printsOf(decided);
  const isSame = now.length === before.length && now.every((print, i) => {
    const other = before[i];
    return print === undefined || other === undefined
      ? print === other
      : same(print, other);
  });
  if (!isSame) {
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
  const places = Object.entries(stage.inputs).flatMap(([name, ids]) =>
    ids.map((id, i) => [
      `${inputFolder(folder, name, i)}/`,
      `${visibleFolder(out, pipeline, { id })}/`,
    ])
  );
  // A path may also end here, with a quotation mark after it.
  const replacements = [
    ...places,
    ...places.map(([from, to]) => [from!.slice(0, -1), to!.slice(0, -1)])
      .toSorted(([a], [b]) => b!.length - a!.length),
    [`${folder.path}/`, ""],
  ];
  return (text) =>
    text.includes(folder.path)
      ? replacements.reduce((it, [from, to]) => it.replaceAll(from!, to!), text)
      : text;
}
