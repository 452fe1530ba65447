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
