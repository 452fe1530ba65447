import { join } from "node:path";
import { fingerprint } from "../../store/stats.ts";
import {
  type End,
  type Note,
  readBegan,
  readEnd,
  readNote,
} from "./slurm_job.ts";
import { PACE } from "./slurm_settings.ts";
import { mayStartAgain, type Verdict, verdictIn } from "./slurm_verdict.ts";

/**
 * A job that outlives its scheduler, for those who do not run its stage: what
 * its run folder, and Slurm, say of it. It may start more than once.
 */
export class LeftJob {
  readonly #folder: string;
  /** The last answer of Slurm, and until when it is good enough, in milliseconds. */
  #state: Verdict = "active";
  #due = 0;
  /** Seconds between two questions to Slurm. */
  #pause = PACE.queue;

  /** @param folder Its run folder. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** File with the standard output of a start (0, 1, ...); undefined while there is none. */
  output(start: number): string | undefined {
    return this.#find(`stdout-${start}`);
  }

  /** True if a start has ended. Without a file of its end, if its node was lost, another one follows. */
  hasEnded(start: number): boolean {
    return this.#find(`end-${start}`) !== undefined ||
      this.#find(`began-${start + 1}`) !== undefined;
  }

  /**
   * Whether a start will come, the one before having ended. Only Slurm may know,
   * which is asked more and more seldom. If it says why not, returns its words.
   */
  async comes(start: number): Promise<boolean | string> {
    if (readBegan(this.#folder, start) !== undefined) return true;
    const note = readNote(this.#folder);
    if (note === undefined) return false;
    if (note.round >= start) {
      const state = await this.#ask(note);
      // Files of a job that has ended may appear late.
      if (typeof state === "string") return true;
      return `${state.reason}; the stage had not started`;
    }
    const before = readEnd(this.#folder, start - 1);
    return before !== undefined && mayStartAgain(before) &&
      await this.#ask(note) === "active";
  }

  /** What becomes of it, in words, when it has ended; undefined while it goes on. */
  end(): string | undefined {
    // A scheduler may have submitted it again.
    let start = readNote(this.#folder)?.round ?? 0;
    while (readBegan(this.#folder, start + 1) !== undefined) start++;
    const end = readEnd(this.#folder, start);
    return end && whatFollows(end);
  }

  /** Its state in Slurm. It counts as active if Slurm does not answer. */
  async #ask(note: Note): Promise<Verdict> {
    if (performance.now() < this.#due) return this.#state;
    const { SlurmClient, SlurmError } = await import("./slurm_client.ts");
    try {
      const jobs = await new SlurmClient(PACE.call).queue();
      this.#state = verdictIn(jobs, note);
    } catch (error) {
      if (!(error instanceof SlurmError)) throw error;
      this.#state = "active";
    }
    this.#pause = Math.min(1.5 * this.#pause, PACE.slowest);
    this.#due = performance.now() + this.#pause * 1000;
    return this.#state;
  }

  /** Path of a file in the run folder, if it exists. */
  #find(name: string): string | undefined {
    const path = join(this.#folder, name);
    return fingerprint(path) && path;
  }
}

/**
 * Why jobs that their files do not show to have ended will not go on, by their
 * run folders: they were cancelled in the queue, for instance, or killed. Slurm
 * is asked once for all of them; without its answer, all go on, as do those of
 * other users, which it does not list.
 */
export async function lostJobs(
  folders: readonly string[],
): Promise<Map<string, string>> {
  const { SlurmClient, SlurmError } = await import("./slurm_client.ts");
  try {
    const jobs = await new SlurmClient(PACE.call).queue();
    return new Map(
      folders.flatMap((folder): [string, string][] => {
        const note = isOwn(folder) ? readNote(folder) : undefined;
        const state = note && verdictIn(jobs, note);
        // Files of a job that has ended may appear late.
        return typeof state === "object" ? [[folder, state.reason]] : [];
      }),
    );
  } catch (error) {
    if (!(error instanceof SlurmError)) throw error;
    return new Map();
  }
}

/** True for a folder of this user; false also if a run has just taken its result and removed it. */
function isOwn(folder: string): boolean {
  try {
    return Deno.statSync(folder).uid === Deno.uid();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function whatFollows(end: End): string {
  if (end.code === 0) return "its job has ended; the next run takes its result";
  if (mayStartAgain(end)) return "its job was stopped, and may start again";
  return end.cause === "limit" && end.fresh
    ? "its job reached its time limit; the next run goes on from its checkpoint"
    : "its job has failed; the next run tells why";
}
