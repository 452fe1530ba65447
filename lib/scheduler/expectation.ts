import { type Context, stageOf } from "./context.ts";
import type { Event, ExpectedStage } from "./events.ts";
import { claimOf } from "./limits.ts";

/** What the stages of a run need, and how long they took before. */
export function expectation(context: Context): Event & { type: "expected" } {
  const { graph: { pipeline }, settings: { limits }, store } = context;
  /** Durations of results, by the name of the stage. */
  const seen = new Map<string, number[]>();
  const secondsOf = (id: string): number | undefined => {
    for (const key of store.histories.read(pipeline, id).keys) {
      const found = store.manifests.read(key);
      if (found.state === "found") return found.manifest.seconds;
    }
  };
  const stages = [...context.selected].map((id) => {
    const stage = stageOf(context, id);
    const { cpus, gpus } = claimOf(context, stage);
    const seconds = secondsOf(id);
    if (seconds !== undefined) {
      seen.set(stage.name, [...seen.get(stage.name) ?? [], seconds]);
    }
    const needs = [...new Set(Object.values(stage.inputs).flat())];
    return { stage: id, name: stage.name, needs, cpus, gpus, seconds };
  });
  return {
    type: "expected",
    stages: stages.map(({ name, seconds, ...stage }): ExpectedStage => {
      const others = seen.get(name);
      const expected = seconds ??
        (others && others.reduce((sum, it) => sum + it, 0) / others.length);
      return {
        ...stage,
        ...(expected !== undefined && { seconds: expected }),
      };
    }),
    cpus: limits.cpus,
    gpus: limits.gpus.length,
    jobs: limits.jobs,
  };
}
