import type { Ended, Job } from "../scheduler/executors/executor.ts";
import { describe } from "../scheduler/executors/local.ts";
import type { QueuedJob } from "./client.ts";
import {
  type End,
  giveUp,
  hasArrived,
  hasBegun,
  hasCheckpoint,
  readEnd,
} from "./script.ts";
import type { Intervals } from "./settings.ts";

/** The executor, as far as a job needs it. */
interface JobListener {
  readonly pace: Intervals;
  /** Requests the states of jobs soon. */
  askNow(): void;
  /**
   * Called when a job is no longer followed; it may go on if it is not over.
   */
  finished(job: SlurmJob, isOver: boolean): void;
}

/**
 * Milliseconds after which a submission whose outcome is unknown counts as
 * failed.
 */
const SETTLING = 2_000;

/**
 * Milliseconds between the exit file of a stopped job and its end in `squeue`,
 * at most.
 */
const CONFIRMING = 10_000;

/**
 * A start of a stage as a job of Slurm, from when it is ready to be submitted
 * to its end.
 */
export class SlurmJob {
  readonly started = Promise.withResolvers<void>();
  readonly ended = Promise.withResolvers<Ended>();
  /** When it became ready to be submitted, in milliseconds. */
  ready = performance.now();
  /** Its submission, from just before `sbatch` is called. */
  submission: {
    /**
     * Comment of its job array, by which it is found before its number is
     * known.
     */
    readonly batch: string;
    /** Index in the array; undefined if the batch is a job of its own. */
    readonly index: number | undefined;
    /** Number of the array or job, once it is known. */
    readonly array?: string;
  } | undefined;
  /** The last state that `squeue` gave, with its reason. */
  #state = "";
  /** Set if it is to stop: whether Slurm has been asked to cancel it. */
  stop: "wanted" | "asked" | undefined;
  /** Its exit file, once all of its output is visible as well. */
  #end: End | undefined;
  /**
   * Since when its exit file is there, Slurm says that it is over, and `squeue`
   * has not listed it.
   */
  #written: number | undefined;
  #over: number | undefined;
  #missing: number | undefined;

  /** @param options Of `sbatch`. */
  constructor(
    readonly job: Job,
    readonly options: readonly string[],
    private readonly listener: JobListener,
  ) {}

  /** Id of the job, once it is known. */
  get id(): string | undefined {
    const { array, index } = this.submission ?? {};
    return array === undefined || index === undefined
      ? array
      : `${array}_${index}`;
  }

  /** Notes that its batch was submitted, with the number that Slurm gave it. */
  submitted(array: string): void {
    this.submission = { ...this.submission!, array };
    this.#missing = undefined;
    // It may end before Slurm is first asked for its state.
    this.#state = "PENDING";
    this.#report(this.#state);
  }

  /** Reads the files of the job. */
  readFiles(): void {
    const { pace } = this.listener;
    const { folder } = this.job;
    if (this.submission === undefined) return;
    if (hasBegun(folder)) this.started.resolve();
    const end = readEnd(folder);
    if (end === undefined) return;
    const now = performance.now();
    this.#written ??= now;
    const since = now - this.#written;
    if (this.#end === undefined && !hasArrived(folder, end)) {
      if (since < pace.late * 1000) return;
      return this.#fail(
        `The output of job ${this.id} on node "${end.node}" is not complete here after ${pace.late} s: check the file system of "${folder}"`,
      );
    }
    // Why it failed, or that a stopped job has ended as a whole, only Slurm
    // knows.
    const isClear = end.code === 0 || end.cause === "machine";
    if (this.stop === undefined && isClear || since > CONFIRMING) {
      return this.#finishBy(end);
    }
    if (this.#end === undefined) this.listener.askNow();
    this.#end = end;
  }

  /**
   * Updates the job from its line of `squeue`; undefined if it is not listed.
   * Returns true if something changed.
   */
  update(listed: QueuedJob | undefined): boolean {
    const { pace } = this.listener;
    const now = performance.now();
    if (listed === undefined) {
      this.#missing ??= now;
      const missing = now - this.#missing;
      if (this.submission!.array === undefined && missing > SETTLING) {
        // If it was submitted all the same, it ends at once.
        this.#fail("sbatch has not answered; submitting the job again", true);
      } else if (this.#end !== undefined) this.#finishBy(this.#end);
      else if (missing > pace.vanished * 1000) {
        const { id = "", job: { folder } } = this;
        this.#fail(
          `Job ${id} is no longer in the queue and has left no exit file in "${folder}"`,
        );
      }
      return false;
    }
    this.#missing = undefined;
    const { state, reason, node } = listed;
    const shown = [state, reason].filter((it) => it !== "").join(" ");
    const changed = this.#state !== shown;
    this.#state = shown;
    if (changed && state !== "COMPLETED" && state !== "COMPLETING") {
      this.#report(state, reason);
    }
    const judged = verdict(listed, this.options);
    if (judged === "active") {
      if (state === "COMPLETING" && this.stop && this.#end) {
        this.#finishBy(this.#end);
      }
      return changed;
    }
    this.#over ??= now;
    const over = now - this.#over;
    if (judged === "ended") {
      if (this.#end !== undefined) this.#finishBy(this.#end);
      else if (this.#written === undefined && over > pace.late * 1000) {
        this.#fail(
          `Job ${listed.id} ended on node "${node}" and has left no exit file in "${this.job.folder}": check that the node has this folder, and see job.log there`,
        );
      }
      return changed;
    }
    // A job that was killed may not have written an exit file, or it may appear
    // late.
    if (
      hasBegun(this.job.folder) && this.#written === undefined &&
      over < 2000 * pace.queue
    ) return changed;
    const again = judged.again === "always" ||
      judged.again === "from checkpoint" && hasCheckpoint(this.job);
    this.#fail(judged.reason, again && this.stop === undefined);
    return true;
  }

  /** Ends following the job as its exit file says. */
  #finishBy(end: End): void {
    const { id } = this;
    if (end.cause === "machine") {
      return this.#fail(
        `Node "${end.node}" of job ${id} is of another kind than the one whose engine is in the stage's key (it has ${end.machine.trim()}): select nodes of one kind by "partition" or "constraint" in the profile`,
      );
    }
    const isCut = this.stop === undefined && end.code !== 0;
    if (isCut && end.cause === "alone") {
      return this.#fail(
        `Job ${id} saw no heartbeat of the scheduler; it goes on from its checkpoint`,
        true,
      );
    }
    if (isCut && end.cause === "limit") {
      const goesOn = hasCheckpoint(this.job);
      const what = goesOn
        ? "; it goes on from its checkpoint"
        : ' and has left no checkpoint: raise "time" in its resources or the profile';
      return this.#fail(`Job ${id} reached its time limit${what}`, goesOn);
    }
    this.finish({
      ...describe(end.code),
      measured: {
        started: new Date(end.began),
        seconds: (end.ended - end.began) / 1000,
      },
    });
  }

  #fail(reason: string, again = false): void {
    this.finish({ reason, ...(again && { again }) });
  }

  /** Ends following the job, which must not go on. */
  finish(ended: Ended): void {
    const isOver = this.submission === undefined || this.#written !== undefined;
    if (!isOver) giveUp(this.job.folder);
    this.listener.finished(this, isOver);
    this.ended.resolve(ended);
  }

  #report(state: string, reason = ""): void {
    const job = this.id;
    // Unknown if Slurm has not listed it since it was submitted.
    if (job === undefined) return;
    this.job.onState({ job, state, ...(reason !== "" && { reason }) });
  }
}

/** Meaning of a state of Slurm for a job. */
type Verdict =
  /** It waits, runs or is about to end. */
  | "active"
  /** It ran to its end, which its exit file describes. */
  | "ended"
  | {
    readonly reason: string;
    /**
     * Whether it starts again: in any case, or if it has left a checkpoint. By
     * default, the stage fails.
     */
    readonly again?: "always" | "from checkpoint";
  };

/**
 * Judges a job by its state in `squeue`, and the reason for it:
 * https://slurm.schedmd.com/job_state_codes.html.
 *
 * @param options Of `sbatch`, which have its limits.
 */
export function verdict(
  { id, state, reason: why, node }: Omit<QueuedJob, "comment">,
  options: readonly string[],
): Verdict {
  const where = node === "" ? "" : ` on node "${node}"`;
  const ends = (what: string, again?: "always" | "from checkpoint") => ({
    reason: `Job ${id} ${what}`,
    ...(again && { again }),
  });
  const raise = (name: string, setting: string) => {
    const option = options.find((it) => it.startsWith(`--${name}=`));
    const limit = option?.slice(name.length + 3) ?? "the default";
    return `(${limit})${where}: raise "${setting}" in its resources or the profile`;
  };
  switch (state) {
    case "COMPLETED":
    case "FAILED":
      return "ended";
    case "PENDING":
      // Slurm holds a job that a node did not start until an administrator
      // releases it.
      return /launch failed/i.test(why)
        ? ends(`could not start (${why})`, "always")
        : "active";
    case "PREEMPTED":
      return ends(`was pre-empted${where}`, "always");
    case "NODE_FAIL":
      return ends(`lost its node "${node}"`, "always");
    case "BOOT_FAIL":
    case "LAUNCH_FAILED":
    case "RECONFIG_FAIL":
      return ends(`could not start${where} (${state})`, "always");
    case "TIMEOUT":
    case "DEADLINE": {
      const limit = raise("time", "time");
      return ends(`reached its time limit ${limit}`, "from checkpoint");
    }
    case "OUT_OF_MEMORY":
      return ends(`ran out of memory ${raise("mem", "memory")}`);
    case "CANCELLED":
    case "REVOKED":
      return ends(`was cancelled${where}, not by this run`);
    default:
      return "active";
  }
}
