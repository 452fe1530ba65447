import type {
  Execution,
  Executor,
  Job,
  PlacedTask,
} from "../scheduler/executors/executor.ts";
import { local } from "../scheduler/executors/local.ts";
import { makeStart } from "../scheduler/runs.ts";
import {
  removeFolder,
  removeIfThere,
  temporarySuffix,
} from "../store/files.ts";
import { join } from "../store/paths.ts";
import { Batches } from "./batches.ts";
import { SlurmClient, SlurmError } from "./client.ts";
import { SlurmJob } from "./job.ts";
import { quoted, readBegan, writeScript } from "./script.ts";
import {
  kindOf,
  nodesOf,
  sbatchOptions,
  schedulerOptions,
  type SlurmSettings,
} from "./settings.ts";

/** Answer of a node to a probe. */
export interface NodeAnswer {
  /** Standard output of the program. */
  readonly text: string;
  /** Its processors and GPUs. */
  readonly machine: string;
}

/** Seconds that a probe may take. */
const PROBE_SECONDS = 300;

/** Maximum number of pending jobs whose files are read between two calls of `squeue`. */
const MAX_LOOKS = 64;

/**
 * Runs stages as jobs of Slurm. Equal stages that become ready together are one
 * job array. One loop follows all of them: states come from one `squeue` for
 * all, ends from the file that each job writes in its folder.
 */
export class Slurm implements Executor {
  readonly allots = true;
  readonly #settings: SlurmSettings;
  readonly #client: SlurmClient;
  readonly #say: (text: string) => void;
  readonly #machines = new Map<string, string>();
  readonly #jobs = new Set<SlurmJob>();
  readonly #batches: Batches;
  /** File by which jobs see that this scheduler lives. */
  readonly #alive: string;
  #working = false;
  #wake: () => void = () => {};
  /** When `squeue` is called next, and the pause after it, in milliseconds. */
  #nextQueue = 0;
  #pause = 0;
  /** True while the controller does not answer. */
  #unreachable = false;
  /** Jobs that are given up, but may still be in the queue. */
  #discarded: string[] = [];

  /** @param say Shows the user a message that concerns no single stage. */
  constructor(settings: SlurmSettings, say: (text: string) => void = () => {}) {
    this.#settings = settings;
    this.#say = say;
    this.#alive = join(settings.folder, `alive-${temporarySuffix()}`);
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
    return this.#start(
      job,
      job.needs.length > 0 ? machine : undefined,
      job.resources.gpus > 0,
    );
  }

  /** Jobs whose folder is removed end by themselves; of stages that ran here, processes may remain. */
  async reap(folder: string): Promise<void> {
    await local.reap(folder);
  }

  #start(job: Job, machine: string | undefined, seesGpus: boolean): Execution {
    const { pace } = this.#settings;
    writeScript(job, { alive: this.#alive, pace, machine, seesGpus });
    const started = new SlurmJob(job, sbatchOptions(this.#settings, job), {
      pace,
      askNow: () => this.#askNow(),
      finished: (it, isOver) => {
        this.#jobs.delete(it);
        if (!isOver && it.id !== undefined) this.#discarded.push(it.id);
      },
    });
    this.#jobs.add(started);
    this.#askNow();
    if (!this.#working) this.#work();
    this.#wake();
    return {
      started: started.started.promise,
      ended: started.ended.promise,
      remote: { interval: pace.files * 1000, late: pace.late * 1000 },
      stop: async (grace) => {
        const deadline = performance.now() + grace * 1000;
        started.stop ??= { asked: false, killed: false, deadline };
        this.#wake();
        await started.ended.promise;
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

  /** Options that determine on which nodes the stages of a task run: `partition "gpu", constraint ""`. */
  nodesOf(task: string): string {
    return nodesOf(this.#settings, task);
  }

  /** Sets the processors and GPUs that these nodes must have; see {@linkcode nodesOf}. */
  expect(nodes: string, machine: string): void {
    this.#machines.set(nodes, machine);
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
    try {
      const { spec } = makeStart(folder);
      Deno.writeTextFileSync(spec, "");
      const job: Job = {
        ...program,
        name: "probe",
        task,
        needs: [],
        resources: { cpus: 1, gpus: 0, memory: 0, time: PROBE_SECONDS },
        startsPrograms: true,
        folder,
        checkpoint: join(folder, "checkpoint"),
        onState() {},
      };
      const execution = this.#start(job, undefined, true);
      const stop = () => execution.stop(0);
      signal.addEventListener("abort", stop, { once: true });
      const { code, reason } = await execution.ended;
      signal.removeEventListener("abort", stop);
      signal.throwIfAborted();
      const read = (name: string) => Deno.readTextFileSync(join(folder, name));
      if (code !== 0) {
        throw new Error(
          `The job that probes the engine of a node (${
            this.nodesOf(task)
          }) failed: ${reason ?? (read("stderr").trim() || `code ${code}`)}`,
        );
      }
      return { text: read("stdout"), machine: readBegan(folder)!.machine };
    } finally {
      removeFolder(folder);
    }
  }

  /** Calls `squeue` as soon as possible, and often after that. */
  #askNow(): void {
    this.#pause = 0;
    this.#nextQueue = 0;
  }

  /** Follows all jobs until there are none left. */
  async #work(): Promise<void> {
    this.#working = true;
    const beat = () => {
      try {
        Deno.mkdirSync(this.#settings.folder, { recursive: true });
        Deno.writeTextFileSync(this.#alive, new Date().toISOString());
      } catch (error) {
        for (const job of this.#jobs) lose(job, error);
      }
    };
    const timer = setInterval(beat, 1000 * this.#settings.pace.beat);
    try {
      beat();
      while (this.#jobs.size + this.#discarded.length > 0) {
        const asked = await this.#ask();
        let looks = MAX_LOOKS;
        for (const job of this.#jobs) {
          const isPending = job.state.startsWith("PENDING");
          if (!asked && isPending && looks-- <= 0) continue;
          this.#withFiles(job, () => job.look());
        }
        await this.#stopJobs();
        await this.#batches.submit();
        if (this.#jobs.size > 0) await this.#sleep();
      }
    } catch (error) {
      for (const job of this.#jobs) lose(job, error);
    } finally {
      this.#working = false;
      clearInterval(timer);
      removeIfThere(this.#alive);
    }
  }

  /** Does something with the files of a job. An error fails this job only. */
  #withFiles(job: SlurmJob, work: () => void): void {
    try {
      work();
    } catch (error) {
      lose(job, error);
    }
  }

  async #sleep(): Promise<void> {
    const { gather, files } = this.#settings.pace;
    const waits = [...this.#jobs].some((job) => job.submission === undefined);
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
    const submitted = [...this.#jobs].filter((job) => job.submission);
    if (submitted.length === 0 || performance.now() < this.#nextQueue) {
      return false;
    }
    const jobs = await this.#reach(() => this.#client.queue());
    let changed = false;
    if (jobs !== undefined) {
      const byId = new Map(jobs.map((job) => [job.id, job]));
      const arrays = new Map(
        jobs.map(({ id, comment }) => [comment, id.split("_")[0]!]),
      );
      for (const job of submitted) {
        const { batch, array } = job.submission!;
        const found = arrays.get(batch);
        if (array === undefined && found !== undefined) job.submitted(found);
        this.#withFiles(job, () => {
          const { id } = job;
          if (job.hear(id === undefined ? id : byId.get(id))) changed = true;
        });
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
      if (job.submission === undefined) job.finish({ code: 1 });
    }
    if (this.#discarded.length > 0) {
      await this.#reach(async () => {
        await this.#client.kill(this.#discarded);
        this.#discarded = [];
      });
    }
    const known = stopping.filter(({ id }) => id !== undefined);
    const ask = known.filter(({ stop }) => !stop!.asked);
    const kill = known.filter(({ stop }) =>
      !stop!.killed && now >= stop!.deadline
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
    if (kill.length > 0) {
      await this.#reach(async () => {
        await this.#client.kill(kill.map((job) => job.id!));
        for (const { stop } of kill) stop!.killed = true;
      });
      this.#askNow();
    }
  }
}

/** Ends following a job because of an error. */
function lose(job: SlurmJob, error: unknown): void {
  if (!(error instanceof Error)) throw error;
  const isBug = error instanceof TypeError || error instanceof ReferenceError;
  const reason = isBug ? error.stack ?? error.message : error.message;
  job.finish({ code: 1, reason });
}
