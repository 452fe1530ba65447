/** Runs the processes of stages: on this machine, or under a batch system. */
export interface Executor {
  /**
   * True if it allots processors, memory and GPUs to jobs itself, as a batch
   * system does. Otherwise the scheduler keeps the running jobs within
   * `Settings.limits` and chooses their GPUs.
   */
  readonly allots: boolean;
  /** Starts, or queues, a job. */
  start(job: Job): Execution;
  /** Ends all remaining processes of a job whose scheduler died, given its run folder only. */
  reap(folder: string): Promise<void>;
}

/** A stage's process, ready to be started. */
export interface Job {
  /** Id of the stage: `train-dylora@mrpc,seed=0`. */
  readonly name: string;
  /** What the process needs. */
  readonly resources: JobResources;
  /** Arguments of the Deno executable. */
  readonly args: readonly string[];
  /** File that becomes its standard input. */
  readonly input: string;
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** False if its permissions do not allow it to start programs, so that none have to be ended with it. */
  readonly startsPrograms: boolean;
  /** Private run folder, where the executor may keep notes of its own. */
  readonly folder: string;
}

export interface JobResources {
  readonly cpus: number;
  /** Number of GPUs. */
  readonly gpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Seconds after which the scheduler stops the job, if it is limited. */
  readonly time?: number;
}

/** A job that was started. */
export interface Execution {
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  /** Resolves when the process starts, which under a batch system may be long after it was queued. */
  readonly started: Promise<void>;
  /** Resolves when the process, and every process that it started, has ended. */
  readonly ended: Promise<Ended>;
  /** Asks the process to end, and kills it and all it started after `grace` seconds. */
  stop(grace: number): Promise<void>;
}

/** How a process ended. */
export interface Ended {
  readonly code: number;
  /** The signal that ended it, if one did. */
  readonly signal?: string;
}
