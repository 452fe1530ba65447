import { join } from "node:path";
import type { Graph } from "../../pipeline/graph.ts";
import type { Failure } from "../../store/histories.ts";
import { Store } from "../../store/store.ts";
import type { Decision } from "../events.ts";
import { type LiveRun, liveRuns } from "../attempts/live.ts";
import { plan } from "./plan.ts";
import type { Settings } from "../settings.ts";

/** Where a stage stands. */
export interface StageStatus {
  readonly stage: string;
  readonly decision: Decision;
  /** Set while it runs. */
  readonly live?: LiveRun;
  /** Its last result. */
  readonly last?: {
    /** When it was made: ISO 8601. */
    readonly started: string;
    readonly seconds: number;
    readonly metrics: Readonly<Record<string, number>>;
  };
  /** Set if its last run failed. */
  readonly failure?: Failure;
}

/** Where each stage of a pipeline stands, in topological order. */
export async function status(
  graph: Graph,
  settings: Settings,
): Promise<StageStatus[]> {
  const { pipeline } = graph;
  const decisions = await plan(graph, [], settings);
  const store = new Store(join(settings.out, "cache"));
  const live = liveRuns(store).filter((run) => run.pipeline === pipeline);
  return [...decisions].map(([stage, decision]) => {
    const { keys, failure } = store.histories.read(pipeline, stage);
    const running = live.find((run) => run.stage === stage);
    const last = keys[0] === undefined
      ? undefined
      : store.manifests.read(keys[0]);
    return {
      stage,
      decision,
      ...(running !== undefined && { live: running }),
      ...(last?.state === "found" && {
        last: {
          started: last.manifest.started,
          seconds: last.manifest.seconds,
          metrics: last.manifest.metrics,
        },
      }),
      ...(failure !== undefined && { failure }),
    };
  });
}
