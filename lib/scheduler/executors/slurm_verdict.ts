import type { Ended } from "./executor.ts";
import type { End } from "./slurm_job.ts";

/** Properties of a job, for messages. */
interface Known {
  readonly job: string;
  readonly node: string;
  /** Its limits: `16384M`, `02:00:00`. */
  readonly memory?: string | undefined;
  readonly time?: string | undefined;
}

/** Meaning of a state of Slurm for a job. */
export type Verdict =
  /** It waits, runs or is about to end. */
  | "active"
  /** It ran to its end, which its exit file describes. */
  | "ended"
  | {
    readonly reason: string;
    /** True if the stage is not the cause, so that it starts again. */
    readonly again?: boolean;
    /** True if it starts again from a checkpoint, if it has left one. */
    readonly limit?: boolean;
  };

/** Judges a job by its state in `squeue`, and the reason for it: https://slurm.schedmd.com/job_state_codes.html. */
export function verdict(
  state: string,
  why: string,
  { job, node, memory = "the default", time = "the default" }: Known,
): Verdict {
  const where = node === "" ? "" : ` on node "${node}"`;
  switch (state) {
    case "COMPLETED":
    case "FAILED":
      return "ended";
    case "PENDING":
      // Slurm holds a job that a node did not start until an administrator releases it.
      return /launch failed/i.test(why)
        ? { again: true, reason: `Job ${job} could not start (${why})` }
        : "active";
    case "PREEMPTED":
      return { again: true, reason: `Job ${job} was pre-empted${where}` };
    case "NODE_FAIL":
      return { again: true, reason: `Job ${job} lost its node "${node}"` };
    case "BOOT_FAIL":
    case "LAUNCH_FAILED":
    case "RECONFIG_FAIL":
      return {
        again: true,
        reason: `Job ${job} could not start${where} (${state})`,
      };
    case "TIMEOUT":
    case "DEADLINE":
      return {
        limit: true,
        reason:
          `Job ${job} reached its time limit (${time})${where}: raise "time" in its resources or the profile`,
      };
    case "OUT_OF_MEMORY":
      return {
        reason:
          `Job ${job} ran out of memory (${memory})${where}: raise "memory" in its resources or the profile`,
      };
    case "CANCELLED":
    case "REVOKED":
      return { reason: `Job ${job} was cancelled${where}, not by this run` };
    default:
      return "active";
  }
}

/** True if only Slurm knows whether a job starts again after such an end: it may have been cancelled, pre-empted or out of memory. */
export function mayStartAgain({ code, cause }: End): boolean {
  return cause === "term" && code !== 0 || code === 137;
}

/** How the stage of a job ended that has written an exit file in a round and does not start again. */
export function endedBy(
  end: End,
  id: string | undefined,
  round: number,
): Ended {
  if (end.cause === "machine") {
    return {
      code: end.code,
      reason:
        `Node "${end.node}" of job ${id} is of another kind than the one whose engine is in the stage's key (it has ${end.machine.trim()}): select nodes of one kind by "partition" or "constraint" in the profile`,
    };
  }
  const signal = end.code > 128 ? SIGNALS[end.code - 128] : undefined;
  return {
    code: end.code,
    round,
    ...(signal !== undefined && { signal }),
    measured: {
      started: new Date(end.began),
      seconds: (end.ended - end.began) / 1000,
    },
  };
}

const SIGNALS: Readonly<Record<number, string>> = {
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  15: "SIGTERM",
};

/** Message of an error; of a bug, with its place. */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isBug = error instanceof TypeError || error instanceof ReferenceError;
  return isBug ? error.stack ?? error.message : error.message;
}
