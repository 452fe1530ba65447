/**
 * Stands for the number of a start (0, 1, ...) in the arguments, environment,
 * input and names of files of a job whose executor may start it again.
 */
export const ROUND = "@ROUND@";

/** Runs the processes of stages: on this machine, or under a batch system. */
export interface Executor {
  /**
   * True if it allots processors, memory and GPUs to jobs itself, as a batch
   * system does. Otherwise the scheduler limits the running jobs to
   * `Settings.limits` and chooses their GPUs.
   */
  readonly allots: boolean;
  /**
   * True if it may start a job again. The process of an earlier start may still
   * live on a node that was lost, so {@linkcode ROUND} gives each start an output
   * folder and a temporary folder of its own, which the executor creates.
   */
  readonly restarts?: boolean;
  /** The executor that runs the stages of a task; this one if absent. */
  of?(task: PlacedTask): Executor;
  /** Starts, or queues, a job. */
  start(job: Job): Execution;
  /** Ends all remaining processes of a job whose scheduler died, given its run folder only. */
  reap(folder: string): Promise<void>;
}

/** Properties of a task that determine where its stages run. */
export interface PlacedTask {
  /** Name of the task: `train-dylora`. */
  readonly task: string;
  /** True if the task declares that it belongs where the scheduler runs. */
  readonly local: boolean;
}

/** A stage's process, ready to be started. */
export interface Job {
  /** Id of the stage: `train-dylora@mrpc,seed=0`. */
  readonly name: string;
  /** Name of its task: `train-dylora`. */
  readonly task: string;
  /** Names of the runtimes that it needs, such as the engine. */
  readonly needs: readonly string[];
  readonly resources: JobResources;
  /** Arguments of the Deno executable. */
  readonly args: readonly string[];
  /** File that becomes its standard input. */
  readonly input: string;
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** True if it may start programs, which must end with it. */
  readonly startsPrograms: boolean;
  /** True if its native code and the programs that it starts must have no network, where the system can cut it off. */
  readonly offline?: boolean;
  /** Private run folder, where the executor may store files of its own. */
  readonly folder: string;
  /** Folder of its checkpoints. */
  readonly checkpoint: string;
  /** Prefix of the lines of standard output that are events. The executor may add lines of its own: {@linkcode JobEvent}. */
  readonly mark: string;
}

/** An event that an executor adds to the standard output of a job, as JSON after the mark. */
export type JobEvent =
  /** The state of the job in a batch system changed. */
  | {
    readonly type: "queued";
    /** Id of the job in the batch system. */
    readonly job: string;
    /** State, as the batch system calls it: `PENDING`. Time counts towards a timeout only while it is `RUNNING`. */
    readonly state: string;
    /** Why it is in this state: `Resources`. */
    readonly reason?: string;
  }
  /** The process starts again from its checkpoint, when its state is `RUNNING` again; an error or end that it has reported does not count. */
  | { readonly type: "restarted"; readonly reason: string };

export interface JobResources {
  readonly cpus: number;
  /** Number of GPUs. */
  readonly gpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Seconds that a batch system reserves for each start of the process. */
  readonly time?: number;
  /** Seconds after which the scheduler stops the job, all its starts together. */
  readonly timeout?: number;
}

/** A job that was started. */
export interface Execution {
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  /** Resolves when the process starts, which under a batch system may be long after it was queued. */
  readonly started: Promise<void>;
  /**
   * Resolves when the process has ended, and with it every process that it
   * started.
   */
  readonly ended: Promise<Ended>;
  /**
   * Whether the process runs. Only for executors for which `ended` may resolve
   * long after its end, since the files that tell how it ended appear late.
   */
  isRunning?(): Promise<boolean>;
  /** A warning about the way it runs, for its log. */
  readonly note?: string;
  /**
   * Asks the process to end, and kills it and all it started after `grace`
   * seconds. Resolves when it has ended.
   */
  stop(grace: number): Promise<void>;
}

/** How a process ended. */
export interface Ended {
  readonly code: number;
  /** The signal that ended it, if one did. */
  readonly signal?: string;
  /** Why it ended, if the executor knows more than the exit code says. */
  readonly reason?: string;
  /** Number of the start whose output counts; see {@linkcode ROUND}. */
  readonly round?: number;
  /** When the process started and how long it ran, if the executor has measured it. */
  readonly measured?: { readonly started: Date; readonly seconds: number };
}
