import { join } from "node:path";
import { fingerprint } from "../../store/stats.ts";
import { type End, readBegan, readEnd, readNote } from "./slurm_job.ts";
import { mayStartAgain, type Verdict, verdictIn } from "./slurm_verdict.ts";

/**
 * A job that outlives its scheduler, for those who do not run its stage: what
 * its run folder, and Slurm, say of it. It may start more than once.
 */
export class LeftJob {
  readonly #folder: string;

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

  /** Whether a start will come, the one before having ended; undefined if only Slurm knows. */
  comes(start: number): boolean | undefined {
    if (readBegan(this.#folder, start) !== undefined) return true;
    const note = readNote(this.#folder);
    if (note !== undefined && note.round >= start) return undefined;
    const before = readEnd(this.#folder, start - 1);
    return before !== undefined && mayStartAgain(before) ? undefined : false;
  }

  /** What becomes of it, in words, when it has ended; undefined while it goes on. */
  end(): string | undefined {
    // A scheduler may have submitted it again.
    let start = readNote(this.#folder)?.round ?? 0;
    while (readBegan(this.#folder, start + 1) !== undefined) start++;
    const end = readEnd(this.#folder, start);
    return end && whatFollows(end);
  }

  /** Asks Slurm for its state. A job counts as active if Slurm does not answer. */
  async ask(): Promise<Verdict> {
    const { SlurmClient, SlurmError } = await import("./slurm_client.ts");
    const { PACE } = await import("./slurm_settings.ts");
    const note = readNote(this.#folder);
    if (note === undefined) return { reason: "Its job was not submitted" };
    try {
      return verdictIn(await new SlurmClient(PACE.call).queue(), note);
    } catch (error) {
      if (error instanceof SlurmError) return "active";
      throw error;
    }
  }

  /** Path of a file in the run folder, if it exists. */
  #find(name: string): string | undefined {
    const path = join(this.#folder, name);
    return fingerprint(path) && path;
  }
}

function whatFollows(end: End): string {
  if (end.code === 0) return "its job has ended; the next run takes its result";
  if (mayStartAgain(end)) return "its job was stopped, and may start again";
  return end.cause === "limit" && end.fresh
    ? "its job reached its time limit; the next run goes on from its checkpoint"
    : "its job has failed; the next run tells why";
}
