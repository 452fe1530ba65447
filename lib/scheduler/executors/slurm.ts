import { join } from "node:path";
import { removeFolder } from "../../store/files.ts";
import type { Execution, Executor, Job, PlacedTask } from "./executor.ts";
import { local } from "./local.ts";
import { Batches } from "./slurm_batches.ts";
import { SlurmClient, SlurmError } from "./slurm_client.ts";
import { FollowedJob } from "./slurm_followed.ts";
import {
  jobOf,
  quoted,
  readBegan,
  readNote,
  writeScript,
} from "./slurm_job.ts";
import {
  kindOf,
  nodesOf,
  sbatchOptions,
  schedulerOptions,
  type SlurmSettings,
} from "./slurm_settings.ts";

/** Answer of a node to a probe. */
export interface NodeAnswer {
  /** Standard output of the program. */
  readonly text: string;
  /** Its processors and GPUs. */
  readonly machine: string;
}

/** Seconds that a probe may take. */
const PROBE_SECONDS = 300;

/** Prefix of the executor's lines in the output of a probe. */
const MARK = "\x1e";

/**
 * Runs stages as jobs of Slurm. Equal stages that become ready together are one
 * job array. One loop follows all of them: states come from one `squeue` for
 * all, ends from the file that each job writes in its run folder.
 */
export class Slurm implements Executor {
  readonly allots = true;
  readonly restarts = true;
  readonly #settings: SlurmSettings;
  readonly #client: SlurmClient;
  readonly #say: (text: string) => void;
  readonly #machines = new Map<string, string>();
  readonly #jobs = new Set<FollowedJob>();
  readonly #batches: Batches;
  #working = false;
  #wake: () => void = () => {};
  /** When `squeue` is called next, and the pause after it, in milliseconds. */
  #nextQueue = 0;
  #pause = 0;
  /** True while the controller does not answer. */
  #unreachable = false;
  /** Jobs to remove from the queue, since others replace them. */
  #discarded: string[] = [];

  /** @param say Shows the user a message that concerns no single stage. */
  constructor(settings: SlurmSettings, say: (text: string) => void = () => {}) {
    this.#settings = settings;
    this.#say = say;
    this.#client = new SlurmClient(settings.pace.call);
    this.#batches = new Batches({
      settings,
      client: this.#client,
      jobs: this.#jobs,
      reach: (call) => this.#reach(call),
      askNow: () => this.#askNow(),
      say,
    });
  }

  of({ task, local: isLocal }: PlacedTask): Executor {
    const run = kindOf(this.#settings, task).run ??
      (isLocal ? "local" : "slurm");
    return run === "local" ? local : this;
  }

  start(job: Job): Execution {
    const machine = this.#machines.get(nodesOf(this.#settings, job.task));
    writeScript(job, job.needs.length > 0 ? machine : undefined);
    return this.#start(job);
  }

  #start(job: Job): Execution {
    const { pace } = this.#settings;
    const options = sbatchOptions(this.#settings, job);
    const followed = new FollowedJob(job, options, pace, {
      askNow: () => this.#askNow(),
      discard: (id) => this.#discarded.push(id),
      finished: (it) => this.#jobs.delete(it),
    });
    this.#jobs.add(followed);
    this.#askNow();
    if (!this.#working) this.#work();
    this.#wake();
    return {
      stdout: followed.stdout.stream,
      stderr: followed.stderr.stream,
      started: followed.started.promise,
      ended: followed.ended.promise,
      isRunning: () => followed.isRunning(),
      stop: async (grace) => {
        const deadline = performance.now() + grace * 1000;
        followed.stop ??= { asked: false, killed: false, deadline };
        this.#wake();
        await Promise.allSettled([followed.ended.promise]);
      },
    };
  }

  /**
   * Submits a scheduler as a job of its own.
   *
   * @param args Arguments of the Deno executable.
   * @param log File for what it prints, which only its owner may read.
   * @returns Number of the job.
   */
  async submitScheduler(args: readonly string[], log: string): Promise<string> {
    Deno.openSync(log, { append: true, create: true, mode: 0o600 }).close();
    const command = [Deno.execPath(), ...args].map(quoted).join(" ");
    return await this.#client.submit(
      schedulerOptions(this.#settings, log),
      `#!/bin/bash\nexec ${command}\n`,
    );
  }

  /** Calls `squeue` as soon as possible, and often after that. */
  #askNow(): void {
    this.#pause = 0;
    this.#nextQueue = 0;
  }

  /** Options that determine on which nodes the stages of a task run: `partition "gpu", constraint ""`. */
  nodesOf(task: string): string {
    return nodesOf(this.#settings, task);
  }

  /**
   * Runs a short program on a node where the stages of a task run.
   *
   * @param program Arguments of the Deno executable.
   * @param folder A folder that is created for it, and removed.
   * @returns What it prints, and the node's processors and GPUs.
   * @throws {Error} If it fails.
   */
  async probe(
    task: string,
    program: Pick<Job, "args" | "env">,
    folder: string,
    signal: AbortSignal,
  ): Promise<NodeAnswer> {
    Deno.mkdirSync(join(folder, "checkpoint"), { recursive: true });
    try {
      const input = join(folder, "spec.json");
      Deno.writeTextFileSync(input, "");
      const job: Job = {
        ...program,
        name: "probe",
        task,
        needs: [],
        resources: { cpus: 1, gpus: 0, memory: 0, time: PROBE_SECONDS },
        input,
        startsPrograms: true,
        folder,
        checkpoint: join(folder, "checkpoint"),
        mark: MARK,
      };
      writeScript(job, undefined, true);
      const execution = this.#start(job);
      const stop = () => execution.stop(0);
      signal.addEventListener("abort", stop, { once: true });
      const [stdout, stderr, ended] = await Promise.all([
        new Response(execution.stdout).text(),
        new Response(execution.stderr).text(),
        execution.ended,
      ]);
      signal.removeEventListener("abort", stop);
      signal.throwIfAborted();
      if (ended.code !== 0) {
        throw new Error(
          `The job that probes the engine of a node (${
            this.nodesOf(task)
          }) failed: ${
            ended.reason ?? (stderr.trim() || `code ${ended.code}`)
          }`,
        );
      }
      const { machine } = readBegan(folder, 0)!;
      const text = stdout.split("\n").filter((line) => !line.startsWith(MARK))
        .join("\n");
      return { text, machine };
    } finally {
      removeFolder(folder);
    }
  }

  /** Sets the processors and GPUs that these nodes must have; see {@linkcode nodesOf}. */
  expect(nodes: string, machine: string): void {
    this.#machines.set(nodes, machine);
  }

  async reap(folder: string): Promise<void> {
    const note = readNote(folder);
    const id = note && jobOf(note);
    if (id !== undefined) await this.#client.kill([id]);
  }

  /** Follows all jobs until there are none left. */
  async #work(): Promise<void> {
    this.#working = true;
    try {
      while (this.#jobs.size > 0) {
        const asked = await this.#ask();
        let looks = MAX_LOOKS;
        for (const job of this.#jobs) {
          const isPending = job.state.startsWith("PENDING");
          if (asked || !isPending || looks-- > 0) job.look();
        }
        await this.#stopJobs();
        await this.#batches.submit();
        if (this.#jobs.size > 0) await this.#sleep();
      }
    } catch (error) {
      for (const job of this.#jobs) job.lose(error);
    } finally {
      this.#working = false;
    }
  }

  async #sleep(): Promise<void> {
    const { gather, files } = this.#settings.pace;
    const waits = [...this.#jobs].some(({ note }) => note === undefined);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(
      resolve,
      1000 * (waits ? Math.min(gather, files) : files),
    );
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
    this.#wake = () => {};
  }

  /** Calls `squeue`, if it is time. Returns true if it answered. */
  async #ask(): Promise<boolean> {
    const { queue, slowest } = this.#settings.pace;
    const followed = [...this.#jobs].filter(({ note }) => note !== undefined);
    if (followed.length === 0 || performance.now() < this.#nextQueue) {
      return false;
    }
    const jobs = await this.#reach(() => this.#client.queue());
    let changed = false;
    if (jobs !== undefined) {
      const byId = new Map(jobs.map((job) => [job.id, job]));
      const arrays = new Map(
        jobs.map(({ id, comment }) => [comment, id.split("_")[0]!]),
      );
      for (const job of followed) {
        const array = arrays.get(job.note!.batch);
        if (job.note!.array === undefined && array !== undefined) {
          job.submitted(array);
        }
        if (!this.#jobs.has(job)) continue;
        const { id } = job;
        const listed = id === undefined ? undefined : byId.get(id);
        if (job.hear(listed)) changed = true;
      }
      await this.#batches.raiseThrottles();
    }
    this.#pause = changed || this.#pause === 0
      ? queue * 1000
      : Math.min(1.5 * this.#pause, slowest * 1000);
    this.#nextQueue = performance.now() + this.#pause;
    return jobs !== undefined;
  }

  /** Calls a command. If the controller does not answer, shows a message and returns undefined. */
  async #reach<T>(call: () => Promise<T>): Promise<T | undefined> {
    try {
      const result = await call();
      if (this.#unreachable) this.#say("Slurm's controller answers again");
      this.#unreachable = false;
      return result;
    } catch (error) {
      if (!(error instanceof SlurmError) || error.kind !== "unreachable") {
        throw error;
      }
      if (!this.#unreachable) {
        this.#say(
          `Slurm's controller does not answer (${error.message}); waiting for it, while running jobs go on`,
        );
      }
      this.#unreachable = true;
      return undefined;
    }
  }

  /** Ends the jobs that were asked to stop. */
  async #stopJobs(): Promise<void> {
    const now = performance.now();
    const stopping = [...this.#jobs].filter(({ stop }) => stop !== undefined);
    for (const job of stopping) {
      if (job.note === undefined) job.finish({ code: 1 });
    }
    const ask = stopping.filter((job) =>
      job.id !== undefined && !job.stop!.asked
    );
    const kill = stopping.filter((job) =>
      job.id !== undefined && !job.stop!.killed &&
      now >= job.stop!.deadline
    );
    if (ask.length > 0) {
      const ids = ask.map((job) => job.id!);
      await this.#reach(async () => {
        await this.#client.cancelPending(ids);
        await this.#client.terminate(ids);
        for (const { stop } of ask) stop!.asked = true;
      });
      this.#askNow();
    }
    if (this.#discarded.length > 0) {
      await this.#reach(async () => {
        await this.#client.kill(this.#discarded);
        this.#discarded = [];
      });
    }
    if (kill.length > 0) {
      await this.#reach(async () => {
        await this.#client.kill(kill.map((job) => job.id!));
        for (const { stop } of kill) stop!.killed = true;
      });
      this.#askNow();
    }
  }
}

/** Maximum number of pending jobs whose files are read between two calls of `squeue`. */
const MAX_LOOKS = 64;
