import { join } from "node:path";
import type { Graph } from "../pipeline/graph.ts";
import { listFiles } from "../store/blobs.ts";
import { holdOff } from "../store/cleanup.ts";
import { digestFile } from "../store/digest.ts";
import type { Manifest } from "../store/manifests.ts";
import { attempt } from "./attempt.ts";
import { openContext, openStore, stageOf } from "./context.ts";
import type { Event } from "./events.ts";
import { StageFailure } from "./failure.ts";
import { lockMutex, takeGpus } from "./limits.ts";
import { decide, type Reused } from "./plan.ts";
import { makeRunFolder } from "./runs.ts";
import type { Settings } from "./settings.ts";

/** Comparison of a stage's artifact with that of a second run. */
export interface Verification {
  readonly stage: string;
  /** Files that differ, or that only one of the two artifacts has. */
  readonly differing: readonly string[];
  /** Number of files compared. */
  readonly files: number;
  /** Duration of the second run. */
  readonly seconds: number;
}

/**
 * Runs a stage again, with its inputs from the cache, and compares its artifact
 * with the cached one byte by byte. Neither the cache nor the visible output
 * changes.
 *
 * @throws {StageFailure} If the stage fails, or its result or an input is not in the cache.
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
  const reused = new Map<string, Reused>();
  const results = new Map<string, Manifest>();
  for (const needed of context.selected) {
    const decided = await decide(context, stageOf(context, needed), results);
    if (!("manifest" in decided)) {
      throw new StageFailure(
        `The cache has no result of "${needed}"; run the stage first`,
      );
    }
    reused.set(needed, decided);
    results.set(needed, decided.manifest);
  }
  const stage = stageOf(context, id);
  const waiting = { emit, waiting: signal };
  using _mutex = await lockMutex(context, stage, waiting);
  using gpus = await takeGpus(context, stage, waiting);
  using folder = makeRunFolder(store, graph.pipeline, id);
  const checkpoint = join(folder.path, "checkpoint");
  Deno.mkdirSync(checkpoint);
  const options = { results, gpus, checkpoint: () => checkpoint, emit, signal };
  const { seconds } = await attempt(
    context,
    stage,
    reused.get(id)!,
    folder,
    options,
  );
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
