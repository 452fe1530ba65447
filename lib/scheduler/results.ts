import { join } from "../files/paths.ts";
import type { Graph } from "../pipeline/graph.ts";
import { holdOff } from "../store/cleanup.ts";
import { ifThere, isFull, isReadOnly, removeFolder } from "../files/files.ts";
import type { Store } from "../store/store.ts";
import { openContext } from "./context.ts";
import { NoResultError } from "./failure.ts";
import { findResults, plan } from "./plan.ts";
import type { Lines } from "./journal.ts";
import { liveRuns, makeRunFolder } from "./runs.ts";
import type { Settings } from "./settings.ts";
import { visibleFolder } from "./visible.ts";

/** Private folders of the results of stages, removed on disposal. */
export interface OpenResults extends Disposable {
  /** The folder of a stage's result; read only. */
  of(stage: string): string;
  /**
   * Replaces these folders in a text by those in which the user sees the
   * results of the stages.
   */
  lastingPaths(text: string): string;
}

/**
 * Opens the result that a run of a stage would find in the cache, and those of
 * stages that it needs. What is visible in `out/PIPELINE/STAGE` may be another
 * one, of a run with other parameters, or become it at any time; the folders
 * are therefore private ones, with links to the cache, which exist until
 * disposal.
 *
 * @param stages The stage and stages that it needs, whose results are opened.
 * @throws {NoResultError} If the cache lacks one of them.
 */
export async function openResults(
  graph: Graph,
  id: string,
  stages: readonly string[],
  settings: Settings,
  store: Store,
): Promise<OpenResults> {
  const { pipeline } = graph;
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const reused = await findResults(context, id);
  const paths = new Map<string, string>();
  using made = new DisposableStack();
  const folder = made.use(
    privateFolder(() =>
      makeRunFolder(store, pipeline, `${id} (read)`, reused.get(id)!.key)
    ),
  );
  for (const [i, stage] of stages.entries()) {
    const path = join(folder.path, String(i));
    Deno.mkdirSync(path);
    const { manifest } = reused.get(stage)!;
    for (const { blob, path: below } of manifest.files) {
      await store.blobs.linkTo(blob, join(path, below));
    }
    paths.set(stage, path);
  }
  await store.memo.save();
  const kept = made.move();
  return {
    of: (stage: string) => paths.get(stage)!,
    lastingPaths: (text: string) =>
      [...paths].reduce(
        (it, [stage, path]) =>
          it.replaceAll(path, visibleFolder(settings.out, pipeline, stage)),
        text,
      ),
    [Symbol.dispose]: () => kept.dispose(),
  };
}

/** A folder that is removed on disposal. */
interface PrivateFolder extends Disposable {
  readonly path: string;
}

/**
 * Makes a folder in the cache, or one for temporary files if the cache is not
 * writable.
 */
function privateFolder(make: () => PrivateFolder): PrivateFolder {
  try {
    return make();
  } catch (error) {
    if (!isReadOnly(error) && !isFull(error)) throw error;
    const path = Deno.makeTempDirSync({ prefix: "dylora-results-" });
    return { path, [Symbol.dispose]: () => removeFolder(path) };
  }
}

/**
 * Opens the log of the last run with a stage's key: it is in progress, it has
 * failed, or it made the result.
 *
 * @throws {NoResultError} If there was none.
 */
export async function openStageLog(
  graph: Graph,
  id: string,
  settings: Settings,
  store: Store,
): Promise<Lines> {
  const decisions = await plan(graph, [id], settings, store);
  const decision = decisions.get(id)!;
  if ("key" in decision) {
    const { Lines } = await import("./journal.ts");
    for (const path of logPaths(graph.pipeline, id, decision.key, store)) {
      const lines = ifThere(() => new Lines(path, { keep: true }));
      if (lines !== undefined) return lines;
    }
  }
  for (const [stage, { state, ...more }] of decisions) {
    const isMissing = state === "run" || state === "unknown";
    if (isMissing && "reason" in more) {
      throw new NoResultError(id, { stage, reason: more.reason });
    }
  }
  throw new NoResultError(id, { stage: id, reason: "not in the cache" });
}

/**
 * Where the log of the last run with a key may be, in the order in which it is
 * moved.
 */
function* logPaths(
  pipeline: string,
  stage: string,
  key: string,
  store: Store,
): Generator<string> {
  const live = liveRuns(store).find((run) =>
    run.pipeline === pipeline && run.stage === stage && run.key === key
  );
  if (live !== undefined) yield live.log;
  const { unfinished } = store.histories.read(pipeline, stage);
  if (unfinished?.key === key) yield unfinished.log;
  const result = store.manifests.find(key);
  if (result !== undefined) yield store.blobs.path(result.log.blob);
}
