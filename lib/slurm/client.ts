/**
 * Calls of Slurm's commands, with a time limit for each and a classification of
 * failures.
 */
import { signal } from "../scheduler/executors/local.ts";

/** A failed call. */
export class SlurmError extends Error {
  override readonly name = "SlurmError";

  /**
   * @param kind `unreachable`: the controller does not answer, or the call took
   * too long and may have had its effect. `limit`: there are too many jobs now.
   * `refused`: trying again is useless. `unusable`: Slurm is not set up here.
   */
  constructor(
    readonly kind: "unreachable" | "limit" | "refused" | "unusable",
    message: string,
  ) {
    super(message);
  }
}

/** A job, or a task of an array, as the controller lists it. */
export interface QueuedJob {
  /** `12_3`: array and index. */
  readonly id: string;
  /** `PENDING`, `RUNNING`, `TIMEOUT`, ... */
  readonly state: string;
  /** Why it is in this state; empty if the controller gives no reason. */
  readonly reason: string;
  /** Node on which it runs, or ran. */
  readonly node: string;
  /** Comment that `sbatch --comment` gave it. */
  readonly comment: string;
}

/** Messages of a controller that does not answer. */
const UNREACHABLE =
  /unable to contact|timed out|connection (refused|failure|reset)|zero bytes|communication|no route|network is unreachable|unable to establish|controller.*(down|not responding)|protocol authentication|munge/i;

/**
 * Messages of clients that are not configured, or whose configuration comes
 * from a controller that does not answer.
 */
const UNUSABLE = /slurm\.conf|configuration (file|source)|clustername|dns srv/i;

/** Messages of limits that are met with fewer jobs at a time, or later. */
const LIMIT =
  /submit ?(job|limit)|MaxSubmit|job violates accounting\/QOS policy|temporarily unable|resource temporarily unavailable|invalid job array specification|too many (jobs|tasks)/i;

/**
 * A line with the name of the violated limit: `QOSMaxWallDurationPerJobLimit`.
 */
const NAMED_LIMIT = /^(sbatch: error: )?(QOS|Assoc|Max|Min)\w+$/m;

/** Runs Slurm's commands. */
export class SlurmClient {
  /**
   * True if Slurm is known to be set up here, as it is once a call has
   * succeeded.
   */
  isSetUp = false;

  /** @param seconds Seconds after which a call is given up. */
  constructor(private readonly seconds: number) {}

  /**
   * Submits a job array.
   *
   * @param args Options of `sbatch`.
   * @param script Text of the script.
   * @returns Number of the array.
   */
  async submit(args: readonly string[], script: string): Promise<string> {
    const text = await this.#call("sbatch", ["--parsable", ...args], script);
    const id = /^(\d+)/m.exec(text)?.[1];
    if (id !== undefined) return id;
    throw new SlurmError("refused", `sbatch printed no job number: "${text}"`);
  }

  /**
   * All jobs of this user that the controller still knows, ended ones included.
   */
  async queue(): Promise<QueuedJob[]> {
    const text = await this.#call("squeue", [
      "--noheader",
      "--array",
      "--states=all",
      `--user=${Deno.uid()}`,
      "--format=%i|%T|%r|%N|%k",
    ]);
    return text.split("\n").filter((line) => line !== "").map((line) => {
      const [id = "", state = "", why = "", node = "", ...comment] = line
        .split("|");
      return {
        id,
        state,
        reason: why === "None" ? "" : why,
        node,
        comment: comment.join("|"),
      };
    });
  }

  /**
   * Cancels jobs, unless they have ended: asks them to end, and kills them
   * after the `KillWait` of the cluster.
   */
  async cancel(ids: readonly string[]): Promise<void> {
    try {
      await this.#call("scancel", ids);
    } catch (error) {
      const isGone = error instanceof SlurmError && error.kind === "refused";
      if (!isGone) throw error;
    }
  }

  async #call(
    command: string,
    args: readonly string[],
    input = "",
  ): Promise<string> {
    const process = spawn(command, args);
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      // With what it has started: a command may be a script of the site.
      signal(-process.pid, "SIGKILL");
    }, this.seconds * 1000);
    const written = new Blob([input]).stream().pipeTo(process.stdin)
      // It has ended without reading all of its input, which its code explains.
      .catch(() => {});
    const { code, stdout, stderr } = await process.output();
    await written;
    clearTimeout(timer);
    if (code === 0) {
      this.isSetUp = true;
      return new TextDecoder().decode(stdout);
    }
    if (expired) {
      const message = `${command} did not answer within ${this.seconds} s`;
      throw new SlurmError("unreachable", message);
    }
    throw this.#failure(command, new TextDecoder().decode(stderr));
  }

  #failure(command: string, stderr: string): SlurmError {
    const kind = this.#kindOf(command, stderr);
    const reason = stderr.split("\n")
      .map((line) => line.replace(/^\w+: (error|fatal): /, "").trim())
      .filter((line) => line !== "").join("; ");
    return new SlurmError(
      kind,
      `${command} failed: ${reason || "it gave no reason"}`,
    );
  }

  #kindOf(command: string, stderr: string): SlurmError["kind"] {
    if (UNREACHABLE.test(stderr)) return "unreachable";
    if (UNUSABLE.test(stderr)) return this.isSetUp ? "unreachable" : "unusable";
    // This call is always valid, so a failure is the controller's.
    if (command === "squeue") return "unreachable";
    if (command !== "sbatch" || !LIMIT.test(stderr)) return "refused";
    // A limit whose name is not of submissions is one that the job exceeds by
    // itself.
    const [limit = "submit"] = NAMED_LIMIT.exec(stderr) ?? [];
    return /submit/i.test(limit) ? "limit" : "refused";
  }
}

function spawn(command: string, args: readonly string[]): Deno.ChildProcess {
  try {
    return new Deno.Command(command, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      // Ctrl-C in the terminal is for the scheduler, which decides what happens
      // to its jobs.
      detached: true,
    }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new SlurmError(
      "unusable",
      `"${command}" was not found: Slurm's commands must be in PATH where the scheduler runs`,
    );
  }
}
