import { join } from "node:path";
import type { Graph } from "../pipeline/graph.ts";
import { holdOff } from "../store/cleanup.ts";
import type { Store } from "../store/store.ts";
import { openContext } from "./context.ts";
import { NoResultError } from "./failure.ts";
import { findResult } from "./plan.ts";
import type { FoundLog } from "./read_log.ts";
import { liveRuns, makeRunFolder, type RunFolder } from "./runs.ts";
import type { Settings } from "./settings.ts";
import { visibleFolder } from "./visible.ts";

/** Folders of results, which exist until disposal. */
export interface ResultFolders extends Disposable {
  /** The folder of a stage's result; read only. */
  of(stage: string): string;
  /** Replaces these folders in a text by those in which the user sees the results of the stages. */
  readonly lastingPaths: (text: string) => string;
}

/**
 * Opens the result that a run of a stage would find in the cache, and those of
 * stages that it needs. What is visible in `out/PIPELINE/STAGE` may be another
 * one, of a run with other parameters; the folder is then a private one with
 * links to the cache.
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
): Promise<ResultFolders> {
  const { pipeline } = graph;
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const { reused, lacking, key } = await findResult(context, id);
  if (lacking !== undefined) throw new NoResultError(id, lacking);
  const paths = new Map<string, string>();
  const visible = (stage: string) =>
    visibleFolder(settings.out, pipeline, { id: stage });
  let folder: RunFolder | undefined;
  try {
    for (const [i, stage] of stages.entries()) {
      const { decision, manifest } = reused.get(stage)!;
      if (decision.state === "unchanged") {
        paths.set(stage, visible(stage));
        continue;
      }
      folder ??= makeRunFolder(store, pipeline, `${id} (read)`, key!);
      const path = join(folder.inputs, String(i));
      Deno.mkdirSync(path);
      for (const file of manifest.files) {
        await store.blobs.linkTo(file.blob, join(path, file.path));
      }
      paths.set(stage, path);
    }
    context.sources.save();
    await store.saveStats();
  } catch (error) {
    folder?.[Symbol.dispose]();
    throw error;
  }
  return {
    of: (stage) => paths.get(stage)!,
    lastingPaths: (text) =>
      [...paths].reduce(
        (it, [stage, path]) => it.replaceAll(path, visible(stage)),
        text,
      ),
    [Symbol.dispose]: () => folder?.[Symbol.dispose](),
  };
}

/**
 * Finds the log of the last run with a stage's key: it is in progress, it has
 * failed, or it made the result.
 *
 * @throws {NoResultError} If there was none.
 */
export async function findStageLog(
  graph: Graph,
  id: string,
  settings: Settings,
  store: Store,
): Promise<FoundLog> {
  const { pipeline } = graph;
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const { reused, lacking, key } = await findResult(context, id);
  context.sources.save();
  await store.saveStats();
  const live = liveRuns(store).find((run) =>
    run.pipeline === pipeline && run.stage === id && run.key === key
  );
  if (live !== undefined) {
    return { from: "live", path: live.log, key: live.key };
  }
  const { failure } = store.histories.read(pipeline, id);
  if (failure !== undefined && failure.key === key) {
    return { from: "failed", path: failure.log, key };
  }
  if (lacking !== undefined) throw new NoResultError(id, lacking);
  const { blob } = reused.get(id)!.manifest.log;
  return { from: "result", path: store.blobs.path(blob) };
}
