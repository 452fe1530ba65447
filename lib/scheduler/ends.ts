import type { Manifest, Measured } from "../store/manifests.ts";
import type { FailureCode } from "./events.ts";
import type { Reused } from "./plan.ts";

/**
 * How a stage ends: its process, an attempt at it, or its run. Messages are
 * meant for the user. Thrown are only bugs, errors of the system, such as a full
 * disk, and `BusyError`.
 */
type End<Done, Restart> =
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
}

/** How a process ends. It is started again from its last checkpoint. */
export type ProcessEnd = End<{ readonly measured: Measured }, {
  /** True if it had started. */
  readonly hasStarted: boolean;
  /** Seconds that are left of its timeout. */
  readonly left: number;
}>;

/** How an attempt ends. The stage is decided anew if what its key depends on has changed, or the cache has lost a blob. */
export type AttemptEnd = End<Made, { readonly lost?: string }>;

/** What an attempt has made: measurements, and the folder of the artifact. */
export interface Made {
  readonly measured: Measured;
  readonly output: string;
}

/** How the run of a stage ends; a failure or an interruption has been emitted. */
export type StageEnd =
  | End<{ readonly manifest: Manifest }, { readonly lost?: string }>
  /** The cache has its result, which another process may have made in the meantime. */
  | { readonly state: "reused"; readonly decided: Reused };

/** The end of a stage that has failed. */
export function failed(message: string, code?: FailureCode): Failed {
  return { state: "failed", message, ...(code !== undefined && { code }) };
}

/** The end of a stage for which the cache lacks a blob. */
export function lost(blob: string) {
  const content = `Cached content "${blob.slice(0, 12)}"`;
  const message = `${content} is missing or damaged`;
  return { state: "restart", message, lost: blob } as const;
}
