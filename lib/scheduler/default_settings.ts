import { join } from "node:path";
import type { Settings } from "./settings.ts";

/** Bytes that the cache may grow to. */
const CACHE_LIMIT = 50e9;
/** Seconds that a stage has to write a checkpoint when it is interrupted. */
const GRACE = 20;

/** Settings for a project on this machine: all of it, and the project's own `out` folder. */
export function defaultSettings(project: string): Settings {
  const cpus = navigator.hardwareConcurrency;
  return {
    project,
    out: join(project, "out"),
    facilities: {},
    limits: {
      jobs: cpus,
      cpus,
      memory: Deno.systemMemoryInfo().total,
      gpus: visibleGpus(),
    },
    force: new Set(),
    wait: true,
    keepGoing: true,
    grace: GRACE,
    cacheLimit: CACHE_LIMIT,
  };
}

/** Ids of the GPUs that processes of this machine see, as `CUDA_VISIBLE_DEVICES` names them. */
export function visibleGpus(): string[] {
  const chosen = Deno.env.get("CUDA_VISIBLE_DEVICES");
  if (chosen !== undefined) {
    return chosen.split(",").map((id) => id.trim()).filter((id) =>
      id !== "" && id !== "-1"
    );
  }
  return [...Deno.readDirSync("/dev")]
    .flatMap(({ name }) => /^nvidia(\d+)$/.exec(name)?.[1] ?? [])
    .sort((a, b) => Number(a) - Number(b));
}
