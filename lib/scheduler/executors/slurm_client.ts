/** Calls of Slurm's commands: each is bounded in time, and its failures are told apart. */

/** A failed call. */
export class SlurmError extends Error {
  override readonly name = "SlurmError";
  /**
   * `unreachable`: the controller does not answer, or the call took too long,
   * and may have had its effect. `limit`: there are too many jobs now.
   * `refused`: it will not work however often it is tried.
   */
  readonly kind: "unreachable" | "limit" | "refused";

  constructor(kind: SlurmError["kind"], message: string) {
    super(message);
    this.kind = kind;
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
  /** What `sbatch --comment` gave it. */
  readonly comment: string;
}

/** Messages of a controller that does not answer. */
const UNREACHABLE =
  /unable to contact|timed out|connection (refused|failure|reset)|zero bytes|communication|dns srv|no route|network is unreachable|unable to establish|controller.*(down|not responding)|protocol authentication|munge/i;

/** Messages of clients that are not set up. */
const UNUSABLE = /slurm\.conf|configuration (file|source)|clustername/i;

/** Messages of limits that fewer jobs at a time, or later ones, keep. */
const LIMIT =
  /submit ?(job|limit)|MaxSubmit|QOSMaxJobs|AssocGrp|QOSGrp|job violates accounting\/QOS policy|temporarily unable|resource temporarily unavailable|invalid job array specification|too many (jobs|tasks)/i;

/** Runs Slurm's commands. */
export class SlurmClient {
  readonly #seconds: number;

  /** @param seconds Seconds after which a call is given up. */
  constructor(seconds: number) {
    this.#seconds = seconds;
  }

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

  /** All jobs of this user that the controller still knows, ended ones included. */
  async queue(): Promise<QueuedJob[]> {
    const text = await this.#call("squeue", [
      "--noheader",
      "--array",
      "--states=all",
      `--user=${Deno.uid()}`,
      "--format=%i|%T|%r|%N|%k",
    ]);
    return text.split("\n").filter((line) => line !== "").map((line) => {
      const [id = "", state = "", reason = "", node = "", ...comment] = line
        .split("|");
      return {
        id,
        state,
        reason: reason === "None" ? "" : reason,
        node,
        comment: comment.join("|"),
      };
    });
  }

  /** Cancels jobs that have not started. */
  async cancelPending(ids: readonly string[]): Promise<void> {
    await this.#cancel(["--state=PENDING", ...ids]);
  }

  /** Asks the scripts of running jobs to end. */
  async terminate(ids: readonly string[]): Promise<void> {
    await this.#cancel(["--batch", "--signal=TERM", ...ids]);
  }

  /** Kills jobs. */
  async kill(ids: readonly string[]): Promise<void> {
    await this.#cancel(ids);
  }

  async #cancel(args: readonly string[]): Promise<void> {
    try {
      await this.#call("scancel", args);
    } catch (error) {
      // A job that has ended in the meantime.
      const isGone = error instanceof SlurmError && error.kind === "refused";
      if (!isGone) throw error;
    }
  }

  /** Changes how many tasks of an array run at a time. */
  async throttle(array: string, tasks: number): Promise<void> {
    await this.#call("scontrol", [
      "update",
      `JobId=${array}`,
      `ArrayTaskThrottle=${tasks}`,
    ]);
  }

  /** The most tasks that an array can have: `MaxArraySize` of the cluster. */
  async maxArraySize(): Promise<number> {
    const text = await this.#call("scontrol", ["show", "config"]);
    return Number(/^MaxArraySize\s*=\s*(\d+)/m.exec(text)?.[1] ?? 1001);
  }

  async #call(
    command: string,
    args: readonly string[],
    input = "",
  ): Promise<string> {
    let process: Deno.ChildProcess;
    try {
      process = new Deno.Command(command, {
        args: [...args],
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
        // Ctrl-C in the terminal is for the scheduler, which decides what happens to its jobs.
        detached: true,
      }).spawn();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new SlurmError(
        "refused",
        `"${command}" was not found: Slurm's commands must be in PATH where the scheduler runs`,
      );
    }
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      process.kill("SIGKILL");
    }, this.#seconds * 1000);
    try {
      const writer = process.stdin.getWriter();
      const written = writer.write(new TextEncoder().encode(input))
        .then(() => writer.close())
        // It has ended without reading all of its input, which its code explains.
        .catch(() => {});
      const { code, stdout, stderr } = await process.output();
      await written;
      if (code === 0) return new TextDecoder().decode(stdout);
      throw expired
        ? new SlurmError(
          "unreachable",
          `${command} did not answer within ${this.#seconds} s`,
        )
        : failure(command, new TextDecoder().decode(stderr));
    } finally {
      clearTimeout(timer);
    }
  }
}

function failure(command: string, stderr: string): SlurmError {
  const lines = stderr.split("\n")
    .map((line) => line.replace(/^\w+: (error|fatal): /, "").trim())
    .filter((line) => line !== "");
  const said = lines.join("; ") || "it gave no reason";
  const kind = UNUSABLE.test(stderr)
    ? "refused"
    // Nothing is wrong with the questions that the other commands ask.
    : command !== "sbatch" && command !== "scancel" || UNREACHABLE.test(stderr)
    ? "unreachable"
    : LIMIT.test(stderr)
    ? "limit"
    : "refused";
  return new SlurmError(kind, `${command} failed: ${said}`);
}
