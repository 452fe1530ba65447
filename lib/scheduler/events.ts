import type { ChildEvent, Setting } from "./child.ts";
import type { JobState } from "./executors/executor.ts";

/**
 * What a run does with a stage. Its reason is a text: `param lr 4e-4 -> 5e-4`.
 */
export type Decision =
  /** Its result is in the cache and its visible output is up to date. */
  | { readonly state: "unchanged"; readonly key: string }
  /** Its result is in the cache; its visible output is missing or changed. */
  | { readonly state: "restore"; readonly key: string; readonly reason: string }
  /** Its result is not in the cache, or it is forced to run. */
  | { readonly state: "run"; readonly key: string; readonly reason: string }
  /**
   * An input does not exist yet: the stage runs unless that input turns out as
   * before.
   */
  | { readonly state: "unknown"; readonly reason: string }
  /** Not selected, or blocked by a failure. */
  | { readonly state: "skip"; readonly reason: string };

/**
 * What happens during a run. Renderers turn events into lines, a live table or
 * JSON.
 */
export type Event =
  | {
    readonly type: "start";
    readonly pipeline: string;
    readonly stages: readonly string[];
  }
  /**
   * Resources of the stages and durations of earlier runs, emitted before the
   * first stage runs.
   */
  | {
    readonly type: "expected";
    readonly stages: readonly ExpectedStage[];
    /** Limits of what may run at the same time: processors, GPUs, stages. */
    readonly cpus: number;
    readonly gpus: number;
    readonly jobs: number;
  }
  | {
    readonly type: "decided";
    readonly stage: string;
    readonly decision: Decision;
  }
  | {
    readonly type: "started";
    readonly stage: string;
    readonly attempt: number;
    readonly reason: string;
  }
  /** The state of its job in a batch system changed. */
  | JobState & { readonly type: "queued"; readonly stage: string }
  /** What its process reports. */
  | Extract<ChildEvent, { type: "progress" | "metric" | "saved" }> & {
    readonly stage: string;
  }
  | {
    readonly type: "log";
    readonly stage: string;
    readonly line: string;
    /** `stack`: stack trace of an error whose message the failure has. */
    readonly stream: "log" | "stdout" | "stderr" | "stack";
  }
  | {
    readonly type: "finished";
    readonly stage: string;
    readonly outcome: "ran" | "restored" | "unchanged" | "skipped";
    readonly seconds: number;
    /** Visible folder of the artifact. */
    readonly output: string;
    readonly note?: string;
  }
  /** Files of the user were moved out of its output folder. */
  | {
    readonly type: "kept";
    readonly stage: string;
    readonly files: number;
    /** Folder that they were moved to. */
    readonly folder: string;
  }
  | {
    readonly type: "failed";
    readonly stage: string;
    readonly attempt: number;
    readonly message: string;
    readonly log: string;
    readonly retry: boolean;
    /**
     * Kind of the failure, if it is distinguished; see {@linkcode FailureCode}.
     */
    readonly code?: FailureCode;
    /** The parameter of the pipeline, and its value, that mends the fault. */
    readonly setting?: Setting;
  }
  /** The run was interrupted while the stage ran. */
  | {
    readonly type: "interrupted";
    readonly stage: string;
    /**
     * Where the next run resumes, such as `step 175`; absent if it starts over.
     */
    readonly checkpoint?: string;
    readonly log: string;
  }
  | Summary;

/** The event before the first stage runs. */
export type Expectation = Event & { readonly type: "expected" };

/** What is known about a stage before the first one runs. */
export interface ExpectedStage {
  readonly stage: string;
  readonly needs: readonly string[];
  readonly cpus: number;
  readonly gpus: number;
  /** Duration of its last run. */
  readonly seconds?: number;
}

/**
 * Kinds of failures. `output-missing`: a declared file was not written.
 * `reported`: the task reported the error, and its message is complete.
 */
export type FailureCode = "output-missing" | "reported";

/**
 * How a stage ends: its process, an attempt at it, or its run. Messages are
 * meant for the user. Thrown are only bugs, errors of the system, such as a
 * full disk, and `BusyError`.
 */
export type End<Done, Restart = unknown> =
  | { readonly state: "done" } & Done
  | Failed
  | {
    readonly state: "interrupted";
    readonly message: string;
    /** Where the next attempt resumes: `step 175`; absent if it starts over. */
    readonly checkpoint?: string;
  }
  /** To be started again, for a reason that is not its own. */
  | { readonly state: "restart"; readonly message: string } & Restart;

/** The end of a stage that has failed. */
export interface Failed {
  readonly state: "failed";
  readonly message: string;
  /** Kind of the failure, if it is distinguished. */
  readonly code?: FailureCode;
  /** The parameter of the pipeline, and its value, that mends the fault. */
  readonly setting?: Setting;
}

/**
 * Makes the end of a stage that has failed.
 *
 * @param code Kind of the failure, if it is distinguished.
 */
export function failed(message: string, code?: FailureCode): Failed {
  return { state: "failed", message, ...(code && { code }) };
}

/** What becomes of a stage in a run. */
export type Outcome =
  | "ran"
  | "restored"
  | "unchanged"
  | "failed"
  | "skipped"
  | "interrupted";

/** The last event of every run, with the number of stages of each outcome. */
export interface Summary extends Readonly<Record<Outcome, number>> {
  readonly type: "summary";
  readonly seconds: number;
  /** Seconds that the runs took whose results the cache had. */
  readonly savedSeconds: number;
}
