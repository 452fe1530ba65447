/** Properties of a job, for messages. */
interface Known {
  readonly job: string;
  readonly node: string;
  /** Its limits: `16384M`, `02:00:00`. */
  readonly memory: string | undefined;
  readonly time: string | undefined;
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
