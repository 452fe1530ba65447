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
    runtimes: {},
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
    const ids = chosen.split(",").map((id) => id.trim());
    return [...new Set(ids)].filter((id) => id !== "" && id !== "-1");
  }
  return gpusAmong([...Deno.readDirSync("/dev")].map(({ name }) => name));
}

/**
 * Ids of the GPUs that these devices stand for. CUDA counts those that it sees
 * from 0, whatever number a device bears: a container may see `nvidia3` alone.
 */
export function gpusAmong(devices: readonly string[]): string[] {
  const numbered = devices.filter((name) => /^nvidia\d+$/.test(name));
  // Windows lends its GPU to the Linux inside it by a device of another name.
  return numbered.length === 0 && devices.includes("dxg")
    ? ["0"]
    : numbered.map((_, index) => String(index));
}
