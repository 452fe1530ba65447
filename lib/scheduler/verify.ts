import { join } from "node:path";
import type { Graph } from "../pipeline/graph.ts";
import { listFiles } from "../store/blobs.ts";
import { holdOff } from "../store/cleanup.ts";
import { digestFile } from "../store/digest.ts";
import type { Manifest } from "../store/manifests.ts";
import { attempt } from "./attempt.ts";
import { openContext, openStore, stageOf } from "./context.ts";
import type { Event } from "./events.ts";
import { local } from "./executors/local.ts";
import { StageFailure } from "./failure.ts";
import { lockMutex, takeGpus } from "./limits.ts";
import { decide } from "./plan.ts";
import { makeRunFolder } from "./runs.ts";
import type { Settings } from "./settings.ts";

/** How a stage's artifact compares with that of the same stage run again. */
export interface Verification {
  readonly stage: string;
  /** Files that came out otherwise, or not at all, or only now. */
  readonly differing: readonly string[];
  /** Number of files compared. */
  readonly files: number;
  /** Seconds that the run took. */
  readonly seconds: number;
}

/**
 * Runs a stage again beside the cache, with the inputs that the cache holds,
 * and compares what it makes with what the cache has, byte by byte. Neither the
 * cache nor the visible output is touched.
 *
 * @throws {StageFailure} If the stage fails, or the cache has no result of it.
 */
export async function verify(
  graph: Graph,
  id: string,
  settings: Settings,
  emit: (event: Event) => void,
  signal: AbortSignal,
): Promise<Verification> {
  const store = openStore(settings);
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const results = new Map<string, Manifest>();
  for (const selected of context.selected) {
    const stage = stageOf(context, selected);
    const decided = await decide(context, stage, results);
    if (!("manifest" in decided)) {
      throw new StageFailure(
        `The cache has no result of "${selected}"; run it first`,
      );
    }
    results.set(selected, decided.manifest);
  }
  const stage = stageOf(context, id);
  const decided = await decide(context, stage, results);
  const waiting = { emit, waiting: signal };
  using _mutex = await lockMutex(context, stage, waiting);
  using gpus = await takeGpus(context, stage, waiting);
  using folder = makeRunFolder(store, graph.pipeline, id);
  const checkpoint = join(folder.path, "checkpoint");
  Deno.mkdirSync(checkpoint);
  const { seconds } = await attempt(context, stage, decided, folder, {
    results,
    executor: local,
    gpus,
    checkpoint,
    emit,
    signal,
  });
  const cached = new Map(
    results.get(id)!.files.map(({ path, blob }) => [path, blob]),
  );
  const made = new Map<string, string>();
  for (const path of listFiles(folder.output, "refuse")) {
    made.set(path, (await digestFile(join(folder.output, path))).blob);
  }
  const all = new Set([...cached.keys(), ...made.keys()]);
  return {
    stage: id,
    differing: [...all].filter((path) => cached.get(path) !== made.get(path)),
    files: all.size,
    seconds,
  };
}
