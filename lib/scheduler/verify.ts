import { join } from "node:path";
import type { Graph } from "../pipeline/graph.ts";
import { listFiles } from "../store/blobs.ts";
import { holdOff } from "../store/cleanup.ts";
import { digestFile } from "../files/digest.ts";
import { openContext, openStore, stageOf } from "./context.ts";
import type { Event } from "./events.ts";
import { NoResultError } from "./failure.ts";
import { lockMutex, takeGpus } from "./limits.ts";
import { openJournal } from "./journal.ts";
import { findResults } from "./plan.ts";
import { attempt } from "./run_stage.ts";
import { makeRunFolder } from "./runs.ts";
import type { Settings } from "./settings.ts";

/** Comparison of a stage's artifact with that of a second run. */
export interface Verification<Difference> {
  /** Id of the stage. */
  readonly stage: string;
  /**
   * How files differ, by their path; null for a file that only one of the two
   * artifacts has.
   */
  readonly differing: Readonly<Record<string, Difference | null>>;
  /** Number of files compared. */
  readonly files: number;
  /** Duration of the second run. */
  readonly seconds: number;
}

/**
 * Runs a stage again, with its inputs from the cache, and compares its artifact
 * with the cached one, or that of the remote, byte by byte. Neither the results
 * in the cache nor the visible output change.
 *
 * @param compare Says how two files of this name differ, given their paths.
 * @throws {Error} If the stage fails.
 * @throws {NoResultError} If its result or an input is not in the cache.
 */
export async function verify<Difference>(
  graph: Graph,
  id: string,
  settings: Settings,
  emit: (event: Event) => void,
  signal: AbortSignal,
  compare: (name: string, before: string, after: string) => Difference,
): Promise<Verification<Difference>> {
  const store = openStore(settings);
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const reused = await findResults(context, id);
  const noResult = (stage: string, reason: string) =>
    new NoResultError(id, { stage, reason });
  const results = new Map(
    [...reused].map(([stage, { manifest }]) => [stage, manifest]),
  );
  const stage = stageOf(context, id);
  for (const input of new Set(Object.values(stage.inputs).flat())) {
    const isFetched = await reused.get(input)!.fetch();
    if (!isFetched) throw noResult(input, "it was refused");
  }
  const { remote } = settings;
  const ownHit = reused.get(id)!;
  const { key } = ownHit;
  const hit = remote ? await remote.find(key) : ownHit;
  if (hit === undefined) throw noResult(id, `not in ${remote!.name}`);
  const run = { ...context, emit, signal, waiting: signal };
  using _mutex = await lockMutex(run, stage);
  using gpus = await takeGpus(run, stage);
  using folder = makeRunFolder(store, graph.pipeline, id, key);
  // `logs` finds it as that of a run in progress.
  using journal = openJournal(folder.log, emit);
  const saved = join(folder.path, "checkpoint");
  Deno.mkdirSync(saved);
  const journaled = { ...run, emit: journal.emit };
  const end = await attempt(
    journaled,
    stage,
    ownHit,
    results,
    gpus,
    folder,
    saved,
  );
  if (end.state !== "done") throw new Error(end.message);
  const { output, measured: { seconds } } = end;
  const { files } = hit.manifest;
  const before = new Map(files.map(({ path, blob }) => [path, blob]));
  const after = new Map<string, string>();
  for (const path of listFiles(output, "refuse")) {
    after.set(path, (await digestFile(join(output, path))).blob);
  }
  const all = [...new Set([...before.keys(), ...after.keys()])];
  const changed = all.filter((path) => before.get(path) !== after.get(path));
  const both = files
    .filter(({ path }) => after.has(path) && changed.includes(path));
  const isFetched = both.length === 0 || await hit.fetchFiles(both);
  if (!isFetched) throw noResult(id, "it was refused");
  const differing: Record<string, Difference | null> = {};
  for (const path of changed) differing[path] = null;
  for (const { path, blob } of both) {
    differing[path] = compare(path, store.blobs.path(blob), join(output, path));
  }
  return {
    stage: id,
    differing,
    files: all.length,
    seconds,
  };
}
