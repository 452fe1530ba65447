/** Runs the processes of stages: on this machine, or under a batch system. */
export interface Executor {
  /**
   * True if it allots processors, memory and GPUs to jobs itself, as a batch
   * system does. Otherwise the scheduler limits the running jobs to
   * `Settings.limits` and chooses their GPUs.
   */
  readonly allots: boolean;
  /**
   * The executor that runs the stages of a task; this one if absent.
   *
   * @param isLocal True if the task declares that it belongs where the
   * scheduler runs.
   */
  of?(task: string, isLocal: boolean): Executor;
  /** Starts, or queues, a job. */
  start(job: Job): Execution;
  /**
   * Ends all remaining processes of a job whose scheduler died, given its
   * folder only.
   */
  reap(folder: string): Promise<void>;
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
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;
  /** True if it may start programs, which must end with it. */
  readonly startsPrograms: boolean;
  /**
   * True if its native code and the programs that it starts must have no
   * network, where the system can cut it off.
   */
  readonly offline?: boolean;
  /**
   * Private folder of this start, where the executor may store files of its
   * own. The file `spec.json` in it becomes the standard input of the process,
   * and its standard output and error go to the files `stdout` and `stderr`.
   * Its result is in the folder `output`.
   */
  readonly folder: string;
  /** Folder of its checkpoints. */
  readonly checkpoint: string;
  /** Called when its state in a batch system has changed. */
  readonly onState: (state: JobState) => void;
}

/** State of a job in a batch system. */
export interface JobState {
  /** Id of the job. */
  readonly job: string;
  /**
   * As the batch system calls it: `PENDING`. Time counts towards a timeout only
   * while it is `RUNNING`.
   */
  readonly state: string;
  /** Why it is in this state: `Resources`. */
  readonly reason?: string;
}

export interface JobResources {
  readonly cpus: number;
  /** Number of GPUs. */
  readonly gpus: number;
  /** Bytes. */
  readonly memory: number;
  /** Seconds that a batch system reserves for each start of the process. */
  readonly time?: number | undefined;
  /**
   * Seconds after which the scheduler stops the job, all its starts together.
   */
  readonly timeout?: number | undefined;
}

/** A job that was started. */
export interface Execution {
  /**
   * Resolves when the process starts, which under a batch system may be long
   * after it was queued.
   */
  readonly started: Promise<void>;
  /**
   * Resolves when the process has ended, and with it every process that it
   * started, and all that they wrote is visible here.
   */
  readonly ended: Promise<Ended>;
  /**
   * Set if its files are written on another machine: milliseconds between two
   * looks at them, and by which they may appear late.
   */
  readonly remote?: { readonly interval: number; readonly late: number };
  /** A warning about the way it runs, for its log. */
  readonly note?: string;
  /**
   * Asks the process to end, and kills it and all it started after `grace`
   * seconds. Resolves when it has ended.
   */
  stop(grace: number): Promise<void>;
}

/** How a process ended. */
export type Ended =
  | Exit
  | {
    /**
     * Why the stage has failed, or is to be started again, which the exit code
     * does not say.
     */
    readonly reason: string;
    /**
     * True if the stage is not the cause, so that it is to be started again
     * from its last checkpoint.
     */
    readonly again?: boolean;
  };

/** A process that ran to its end. */
export interface Exit {
  readonly code: number;
  /** The signal that ended it, if one did. */
  readonly signal?: string;
  /**
   * When the process started and how long it ran, if the executor has measured
   * it.
   */
  readonly measured?: { readonly started: Date; readonly seconds: number };
}
