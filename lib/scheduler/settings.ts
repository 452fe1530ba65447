import { join } from "node:path";
import type { Runtime } from "./events.ts";

/** Where a pipeline is worked on, and how. */
export interface Settings {
  /** Folder that holds the project's `deno.json`. */
  readonly project: string;
  /** Folder of everything produced: `cache/`, and a folder per pipeline. */
  readonly out: string;
  /** Finds a runtime by the name that tasks need it by; called once for each. */
  readonly runtimes: Readonly<Record<string, () => Promise<Runtime>>>;
  readonly limits: Limits;
  /** Stages that run even if the cache holds their result. */
  readonly force: ReadonlySet<string>;
  /** False if a stage that another process is running is an error instead of being waited for. */
  readonly wait: boolean;
  /** False if nothing is started after a failure. */
  readonly keepGoing: boolean;
  /** Seconds between asking a stage's process to end and killing it. */
  readonly grace: number;
  /** Bytes that the cache may grow to before old results are cleaned up. */
  readonly cacheLimit: number;
}

/** How much of the machine all stages together may use. */
export interface Limits {
  /** Stages that run at the same time. */
  readonly jobs: number;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Ids of the GPUs that stages may hold, as `CUDA_VISIBLE_DEVICES` names them. */
  readonly gpus: readonly string[];
}

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
