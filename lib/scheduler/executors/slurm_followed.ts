import { join } from "node:path";
import type { Ended, Job, JobEvent } from "./executor.ts";
import type { QueuedJob } from "./slurm_client.ts";
import {
  admit,
  type End,
  jobOf,
  type Note,
  readBegan,
  readEnd,
  reserve,
  retire,
  writeNote,
} from "./slurm_job.ts";
import { hasArrived, hasCheckpoint, Tail } from "./slurm_output.ts";
import type { Pace } from "./slurm_settings.ts";
import { causeOf, endedBy, mayStartAgain, verdict } from "./slurm_verdict.ts";

/** The executor, as far as a job needs it. */
interface Follower {
  /** Requests the states of jobs soon. */
  askNow(): void;
  /** Removes a job from the queue, since another one replaces it. */
  discard(id: string): void;
  /** Called when a job is no longer followed. */
  finished(job: FollowedJob): void;
}

/** A stage as a job of Slurm, from when it is ready to be submitted to its end. */
export class FollowedJob {
  readonly job: Job;
  /** Options of `sbatch`. */
  readonly options: readonly string[];
  readonly stdout = new Tail();
  readonly stderr = new Tail();
  readonly started = Promise.withResolvers<void>();
  readonly ended = Promise.withResolvers<Ended>();
  /** When it became ready to be submitted, in milliseconds. */
  ready = performance.now();
  /** The last state that `squeue` gave, with its reason. */
  state = "";
  /** Since when it is known to have ended, and its exit file, once it has appeared. */
  over: { readonly since: number; end?: End } | undefined;
  /** Since when its exit file is there, but not all of its output. */
  arriving: number | undefined;
  /** Set if it was asked to stop; it is killed at the deadline. */
  stop:
    | { asked: boolean; killed: boolean; readonly deadline: number }
    | undefined;
  readonly #pace: Pace;
  readonly #follower: Follower;
  #note: Note | undefined;
  /** The round whose files are read. */
  #round = 0;
  /** Since when `squeue` has not listed it. */
  #missing: number | undefined;
  /** Number of submissions since its last start that did not start it. */
  #tries = 0;
  /** True if Slurm put it back into the queue, so that another round follows. */
  #requeued = false;
  /** True once it is no longer followed. */
  #isClosed = false;
  /** Called with whether it runs, when Slurm has been asked. */
  #listeners: ((isRunning: boolean) => void)[] = [];

  constructor(
    job: Job,
    options: readonly string[],
    pace: Pace,
    follower: Follower,
  ) {
    this.job = job;
    this.options = options;
    this.#pace = pace;
    this.#follower = follower;
  }

  /** The note of its submission; undefined before that. */
  get note(): Note | undefined {
    return this.#note;
  }

  /** Id of the job, once it is known. */
  get id(): string | undefined {
    return this.#note && jobOf(this.#note);
  }

  /** Notes the batch in which it is about to be submitted, and its index there. Returns false if that fails, and with it the stage. */
  enter(batch: string, index: number | undefined): boolean {
    const round = this.#round;
    const note = { batch, round, ...(index !== undefined && { index }) };
    return this.#withFiles(() => {
      writeNote(this.job.folder, note);
      admit(this.job.folder, batch);
      this.#note = note;
      return true;
    }) ?? false;
  }

  /** Notes that its batch was submitted, with the id that Slurm gave it. */
  submitted(array: string): void {
    this.#note = { ...this.#note!, array };
    this.#missing = undefined;
    this.#withFiles(() => writeNote(this.job.folder, this.#note!));
    // It may end before Slurm is first asked for its state.
    this.#reportState(this.state = "PENDING");
  }

  /** Whether Slurm says that it runs. */
  async isRunning(): Promise<boolean> {
    if (this.#isClosed) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#listeners.push(resolve);
    this.#follower.askNow();
    return await promise;
  }

  #tell(isRunning: boolean): void {
    for (const listener of this.#listeners) listener(isRunning);
    this.#listeners = [];
  }

  /** Updates the job from its line of `squeue`; undefined if it is not listed. Returns true if something changed. */
  hear(listed: QueuedJob | undefined): boolean {
    const changed = this.#withFiles(() => this.#hear(listed)) ?? true;
    this.#tell(listed?.state === "RUNNING" && this.arriving === undefined);
    return changed;
  }

  #hear(listed: QueuedJob | undefined): boolean {
    const now = performance.now();
    if (listed === undefined) {
      this.#missing ??= now;
      const missing = now - this.#missing;
      if (
        this.#note!.array === undefined && missing > SETTLING &&
        reserve(this.job.folder)
      ) {
        // The batch was not submitted; if it starts later, its jobs end at once.
        this.again();
      } else if (this.over?.end !== undefined) {
        this.#finishRound(this.over.end);
      } else if (missing > this.#pace.vanished * 1000) {
        this.#discard();
        this.finish({
          code: 1,
          reason: `Job ${
            this.id ?? ""
          } is no longer in the queue and has left no exit file in "${this.job.folder}"`,
        });
      }
      return false;
    }
    this.#missing = undefined;
    const { state, reason, node } = listed;
    const shown = [state, reason].filter((it) => it !== "").join(" ");
    const changed = this.state !== shown;
    this.state = shown;
    if (changed && state !== "COMPLETED" && state !== "COMPLETING") {
      this.#reportState(state, reason, listed.id);
    }
    const judged = verdict(state, reason, {
      job: listed.id,
      node,
      memory: this.options.find((it) => it.startsWith("--mem="))?.slice(6),
      time: this.options.find((it) => it.startsWith("--time="))?.slice(7),
    });
    if (judged === "active") {
      if (state === "COMPLETING" && this.stop && this.over?.end) {
        this.#finishRound(this.over.end);
        return true;
      }
      if (state === "PENDING" && this.over !== undefined) {
        this.over = undefined;
        this.arriving = undefined;
        this.#requeued = true;
      }
      return changed;
    }
    this.over ??= { since: now };
    const { end, since } = this.over;
    // The exit file says more, but may appear late. A job that was killed may not have written one.
    if (end === undefined) {
      if (this.arriving !== undefined) return changed;
      const { late, queue } = this.#pace;
      const began = readBegan(this.job.folder, this.#round) !== undefined;
      const patience = judged === "ended" ? late : began ? 2 * queue : 0;
      if (now - since < patience * 1000) return changed;
    }
    if (judged === "ended") {
      if (end !== undefined) this.#finishRound(end);
      else {
        this.finish({
          code: 1,
          reason:
            `Job ${listed.id} ended on node "${node}" and has left no exit file in "${this.job.folder}": check that the node has this folder, and see job.log there`,
        });
      }
    } else if (
      this.stop === undefined &&
      (judged.again && this.#tries < MAX_TRIES ||
        judged.limit && hasCheckpoint(this.job, this.#round))
    ) this.#restart(judged.reason);
    else this.finish({ code: end?.code ?? 1, reason: judged.reason });
    return true;
  }

  /** Reads the files of the job. */
  look(): void {
    this.#withFiles(() => this.#lookAtRound());
  }

  /** Does something with the files of the job. An error concerns this job only, which is then no longer followed. */
  #withFiles<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      this.lose(error);
      return undefined;
    }
  }

  /** Reads the files of the current round. */
  #lookAtRound(): void {
    const { folder } = this.job;
    if (this.#note === undefined) return;
    for (;;) {
      const end = readEnd(folder, this.#round);
      if (readBegan(folder, this.#round) !== undefined) this.started.resolve();
      this.stdout.read(join(folder, `stdout-${this.#round}`));
      this.stderr.read(join(folder, `stderr-${this.#round}`));
      const next = readBegan(folder, this.#round + 1);
      if (next === undefined) {
        const { stop, over } = this;
        if (
          stop && over?.end && performance.now() - over.since > CONFIRMING
        ) {
          this.#finishRound(over.end);
        } else if (
          end !== undefined && this.over?.end === undefined && !this.#requeued
        ) {
          this.#roundEnded(end);
        }
        return;
      }
      this.#report({
        type: "restarted",
        reason: `Started again on node "${next.node}" from the last checkpoint`,
      });
      this.#nextRound();
      // Its state may have been reported before.
      this.#reportState(this.state = "RUNNING");
    }
  }

  #nextRound(): void {
    this.#round++;
    this.#tries = 0;
    this.over = undefined;
    this.#requeued = false;
    this.arriving = undefined;
    this.stdout.rewind();
    this.stderr.rewind();
  }

  /** A round has written its exit file. */
  #roundEnded(end: End): void {
    const now = performance.now();
    this.arriving ??= now;
    if (!hasArrived(this.job.folder, this.#round, end)) {
      if (now - this.arriving < this.#pace.late * 1000) return;
      this.finish({
        code: 1,
        reason:
          `The output of job ${this.id} on node "${end.node}" is not complete here after ${this.#pace.late} s: check the file system of "${this.job.folder}"`,
      });
      return;
    }
    this.stdout.read(join(this.job.folder, `stdout-${this.#round}`));
    this.stderr.read(join(this.job.folder, `stderr-${this.#round}`));
    // A job that the user cancels is over when Slurm says so too.
    if (mayStartAgain(end) || this.stop !== undefined) {
      this.over = { since: now, end };
      this.#follower.askNow();
      return;
    }
    this.#finishRound(end);
  }

  #finishRound(end: End): void {
    const id = this.id;
    if (this.stop === undefined && end.cause === "limit" && end.code !== 0) {
      if (end.fresh) {
        return this.#restart(
          `Job ${id} reached its time limit; it goes on from its checkpoint`,
        );
      }
      return this.finish({
        code: end.code,
        reason:
          `Job ${id} reached its time limit and has left no checkpoint: raise "time" in its resources or the profile`,
      });
    }
    this.finish(endedBy(end, id, this.#round));
  }

  /** Submits a job again that goes on from its checkpoint. */
  #restart(reason: string): void {
    const { folder } = this.job;
    this.#report({ type: "restarted", reason });
    if (readBegan(folder, this.#round) !== undefined) this.#nextRound();
    else this.#tries++;
    this.#discard();
    this.over = undefined;
    retire(folder);
    this.again();
  }

  /** Removes the job from the queue, if it is still there. */
  #discard(): void {
    const id = this.id;
    if (id !== undefined) this.#follower.discard(id);
  }

  /** Makes the job ready to be submitted again. */
  again(): void {
    this.#note = undefined;
    this.#missing = undefined;
    this.state = "";
    this.ready = performance.now();
  }

  /** Ends following the job. */
  finish(ended: Ended): void {
    this.#close();
    this.started.resolve();
    this.ended.resolve(ended);
  }

  /** Ends the job, which cannot be followed because of an error. */
  lose(error: unknown): void {
    if (this.#note !== undefined) this.#discard();
    this.finish({ code: 1, reason: causeOf(error) });
  }

  #close(): void {
    this.#isClosed = true;
    this.#tell(false);
    this.#follower.finished(this);
    this.stdout.close();
    this.stderr.close();
  }

  #reportState(state: string, reason = "", job = this.id): void {
    // Unknown if Slurm has not listed it since it was submitted.
    if (job === undefined) return;
    const why = reason !== "" && { reason };
    this.#report({ type: "queued", job, state, ...why });
  }

  #report(event: JobEvent): void {
    this.stdout.add(`${this.job.mark}${JSON.stringify(event)}\n`);
  }
}

/** Milliseconds after which a submission whose outcome is unknown is done again. */
const SETTLING = 2_000;

/** Maximum number of times that a job that does not start is submitted again. */
const MAX_TRIES = 3;

/** Milliseconds between the exit file of a stopped job and its end in `squeue`, at most. */
const CONFIRMING = 10_000;
