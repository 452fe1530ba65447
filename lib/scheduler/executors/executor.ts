/** A stage's process, ready to be started. */
export interface Job {
  /** Arguments for the Deno executable. */
  readonly args: readonly string[];
  /** File that becomes its standard input. */
  readonly input: string;
  readonly env: Readonly<Record<string, string>>;
  /** False if it may start no programs, so that there can be none to look for when it ends. */
  readonly startsPrograms: boolean;
  /** Private folder of the run, where the executor may keep notes of its own. */
  readonly folder: string;
}

/** A stage's process that was started. */
export interface Execution {
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  /** How the process ended; by then every process that it started is gone too. */
  readonly ended: Promise<Ended>;
  /** Asks it to end, and kills it with all it started if it has not after so many seconds. */
  stop(grace: number): Promise<void>;
}

export interface Ended {
  readonly code: number;
  /** The signal that ended it, if one did. */
  readonly signal?: string;
}

/** Runs the processes of stages: on this machine, or under a batch system. */
export interface Executor {
  start(job: Job): Execution;
  /** Ends whatever is left of a run whose scheduler died, knowing only its folder. */
  reap(folder: string): Promise<void>;
}
