import type {
  Execution,
  Executor,
  Job,
} from "../scheduler/executors/executor.ts";
import { local } from "../scheduler/executors/local.ts";
import { fullMessage } from "../scheduler/failure.ts";
import { makeStart } from "../scheduler/runs.ts";
import {
  removeFolder,
  removeIfThere,
  temporarySuffix,
} from "../files/files.ts";
import { join } from "../files/paths.ts";
import { SlurmClient, SlurmError } from "./client.ts";
import { SlurmJob } from "./job.ts";
import { shellWord } from "../files/shell_word.ts";
import { batchScript, readEnd, writeScript } from "./script.ts";
import {
  kindOf,
  sbatchOptions,
  schedulerOptions,
  type SlurmSettings,
} from "./settings.ts";

/** Answer of a node to a probe. */
export interface NodeAnswer {
  /** What the program printed. */
  readonly text: string;
  /** The node's processors and GPUs. */
  readonly machine: string;
}

/** Seconds that a probe may take. */
const PROBE_SECONDS = 300;

/**
 * Runs stages as jobs of Slurm. Equal stages that become ready together are one
 * job array, no larger than the cluster accepts. One loop follows all jobs:
 * states come from one `squeue` for all, ends from the file that each job
 * writes in its folder.
 */
export class Slurm implements Executor {
  readonly allots = true;
  /**
   * Of stages that ran here. Jobs whose folder is removed end by themselves.
   */
  readonly reap = local.reap;
  readonly #client: SlurmClient;
  readonly #machines = new Map<string, string>();
  readonly #jobs = new Set<SlurmJob>();
  /** File by which jobs see that this scheduler lives. */
  readonly #alive: string;
  #working = false;
  #wake: () => void = () => {};
  /** When `squeue` is called next, and the pause after it, in milliseconds. */
  #nextQueue = 0;
  #pause = 0;
  /** True while the controller does not answer. */
  #unreachable = false;
  /** Jobs to cancel. */
  #unwanted: string[] = [];
  /**
   * Maximum number of jobs per array that the cluster may accept now: half of
   * what it has refused, then more again.
   */
  #largest = Infinity;
  /** Before this time nothing is submitted. */
  #nextSubmission = 0;
  #told = "";

  /** @param say Shows the user a message that concerns no single stage. */
  constructor(
    private readonly settings: SlurmSettings,
    private readonly say: (text: string) => void = () => {},
  ) {
    this.#alive = join(settings.folder, `alive-${temporarySuffix()}`);
    this.#client = new SlurmClient(settings.pace.call);
  }

  of(task: string, isLocal: boolean): Executor {
    const { run = isLocal ? "local" : "slurm" } = kindOf(this.settings, task);
    return run === "local" ? local : this;
  }

  /**
   * Options that determine on which nodes the stages of a task run:
   * `partition "gpu", constraint ""`.
   */
  nodesOf(task: string): string {
    const kind = kindOf(this.settings, task);
    const { partition = "", constraint = "", arguments: more = [] } = kind;
    return [`partition "${partition}"`, `constraint "${constraint}"`, ...more]
      .join(", ");
  }

  /**
   * Sets the processors and GPUs that these nodes must have; see
   * {@linkcode nodesOf}.
   */
  expect(nodes: string, machine: string): void {
    this.#machines.set(nodes, machine);
  }

  /**
   * Runs a short program on a node where the stages of a task run.
   *
   * @param program Arguments of the Deno executable, and their environment.
   * @param folder A folder that is created for it, and removed.
   * @throws {Error} If it fails.
   */
  async probe(
    task: string,
    program: Pick<Job, "args" | "env">,
    folder: string,
    signal: AbortSignal,
  ): Promise<NodeAnswer> {
    try {
      Deno.writeTextFileSync(makeStart(folder).spec, "");
      const execution = this.start({
        ...program,
        name: "probe",
        task,
        needs: [],
        resources: { cpus: 1, gpus: 0, memory: 0, time: PROBE_SECONDS },
        startsPrograms: true,
        folder,
        checkpoint: join(folder, "checkpoint"),
        onState() {},
      }, true);
      const stop = () => execution.stop(0);
      signal.addEventListener("abort", stop, { once: true });
      const ended = await execution.ended;
      signal.removeEventListener("abort", stop);
      signal.throwIfAborted();
      const read = (name: string) => Deno.readTextFileSync(join(folder, name));
      if ("code" in ended && ended.code === 0) {
        return { text: read("stdout"), machine: readEnd(folder)!.machine };
      }
      const reason = "code" in ended
        ? read("stderr").trim() || `code ${ended.code}`
        : ended.reason;
      const nodes = this.nodesOf(task);
      throw new Error(
        `The job that probes the engine of a node (${nodes}) failed: ${reason}`,
      );
    } finally {
      removeFolder(folder);
    }
  }

  /** @param seesGpus True if it may use the GPUs that Slurm allots to it. */
  start(job: Job, seesGpus = job.resources.gpus > 0): Execution {
    const { pace } = this.settings;
    const machine = job.needs.length > 0
      ? this.#machines.get(this.nodesOf(job.task))
      : undefined;
    writeScript(job, { alive: this.#alive, pace, machine, seesGpus });
    const started = new SlurmJob(job, sbatchOptions(this.settings, job), {
      pace,
      askNow: () => this.#askNow(),
      finished: (it, isOver) => {
        this.#jobs.delete(it);
        if (!isOver && it.id !== undefined) this.#unwanted.push(it.id);
      },
    });
    this.#jobs.add(started);
    if (!this.#working) this.#work();
    this.#wake();
    const ended = started.ended.promise;
    return {
      started: started.started.promise,
      ended,
      remote: { interval: pace.files * 1000, late: pace.late * 1000 },
      // Slurm kills it when it has not ended within its own `KillWait`.
      stop: async () => {
        started.stop ??= "wanted";
        this.#wake();
        await ended;
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
    const command = [Deno.execPath(), ...args].map(shellWord).join(" ");
    const script = `#!/bin/bash\nexec ${command}\n`;
    const options = schedulerOptions(this.settings, log);
    return await this.#client.submit(options, script);
  }

  /** Follows all jobs until there are none left. */
  async #work(): Promise<void> {
    this.#working = true;
    const { beat: seconds } = this.settings.pace;
    const beat = setInterval(() => this.#beat(), 1000 * seconds);
    try {
      this.#beat();
      while (this.#jobs.size + this.#unwanted.length > 0) {
        await this.#ask();
        for (const job of this.#jobs) trying(job, () => job.readFiles());
        await this.#cancel();
        await this.#submit();
        if (this.#jobs.size > 0) await this.#sleep();
      }
    } catch (error) {
      for (const job of this.#jobs) lose(job, error);
    } finally {
      this.#working = false;
      clearInterval(beat);
      removeIfThere(this.#alive);
    }
  }

  /** Writes the heartbeat, for which all jobs wait. */
  #beat(): void {
    try {
      Deno.mkdirSync(this.settings.folder, { recursive: true });
      Deno.writeTextFileSync(this.#alive, new Date().toISOString());
    } catch (error) {
      for (const job of this.#jobs) lose(job, error);
    }
  }

  async #sleep(): Promise<void> {
    const { gather, files } = this.settings.pace;
    const waits = [...this.#jobs].some((job) => job.submission === undefined);
    const seconds = waits ? Math.min(gather, files) : files;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, 1000 * seconds);
    this.#wake = resolve;
    await promise;
    clearTimeout(timer);
    this.#wake = () => {};
  }

  /** Calls `squeue` as soon as possible, and often after that. */
  #askNow(): void {
    this.#pause = 0;
    this.#nextQueue = 0;
  }

  /** Calls `squeue`, if it is time. */
  async #ask(): Promise<void> {
    const { queue, slowest } = this.settings.pace;
    const submitted = [...this.#jobs].filter((job) => job.submission);
    if (submitted.length === 0 || performance.now() < this.#nextQueue) return;
    const jobs = await this.#reach(() => this.#client.queue());
    let changed = false;
    if (jobs !== undefined) {
      const byId = new Map(jobs.map((job) => [job.id, job]));
      const arrays = new Map(
        jobs.map(({ id, comment }) => [comment, id.split("_")[0]!]),
      );
      for (const job of submitted) {
        const { batch, array } = job.submission!;
        const listed = arrays.get(batch);
        if (array === undefined && listed !== undefined) job.submitted(listed);
        trying(job, () => {
          if (job.update(byId.get(job.id ?? ""))) changed = true;
        });
      }
    }
    this.#pause = changed || this.#pause === 0
      ? queue * 1000
      : Math.min(1.5 * this.#pause, slowest * 1000);
    this.#nextQueue = performance.now() + this.#pause;
  }

  /**
   * Calls a command. If the controller does not answer, shows a message and
   * returns undefined.
   */
  async #reach<T>(call: () => Promise<T>): Promise<T | undefined> {
    try {
      const result = await call();
      if (this.#unreachable) this.say("Slurm's controller answers again");
      this.#unreachable = false;
      return result;
    } catch (error) {
      if (!(error instanceof SlurmError) || error.kind !== "unreachable") {
        throw error;
      }
      const why = `Slurm's controller does not answer (${error.message})`;
      if (!this.#unreachable) {
        this.say(`${why}; waiting for it, while running jobs go on`);
      }
      this.#unreachable = true;
      return undefined;
    }
  }

  /** Cancels the jobs that are to stop, and those that are given up. */
  async #cancel(): Promise<void> {
    for (const job of this.#jobs) {
      if (job.stop !== "wanted") continue;
      if (job.submission === undefined) job.finish({ code: 1 });
      else if (job.id !== undefined) {
        job.stop = "asked";
        this.#unwanted.push(job.id);
      }
    }
    if (this.#unwanted.length === 0) return;
    await this.#reach(async () => {
      await this.#client.cancel(this.#unwanted);
      this.#unwanted = [];
    });
    this.#askNow();
  }

  /** Submits the jobs that are ready. */
  async #submit(): Promise<void> {
    const now = performance.now();
    const ready = [...this.#jobs].filter((job) => job.submission === undefined);
    if (ready.length === 0 || now < this.#nextSubmission) return;
    const gather = this.settings.pace.gather * 1000;
    const since = ready.map(({ ready }) => now - ready);
    if (Math.min(...since) < gather && Math.max(...since) < 10 * gather) return;
    const alike = Map.groupBy(ready, ({ options }) => JSON.stringify(options));
    for (const jobs of alike.values()) {
      for (let rest = jobs; rest.length > 0;) {
        const room = this.#room(rest[0]!.job.task);
        if (room <= 0) break;
        const batch = rest.slice(0, Math.min(room, this.#largest));
        if (!await this.#submitBatch(batch)) return;
        rest = rest.slice(batch.length);
      }
    }
  }

  /**
   * Submits jobs as one array. Returns false if nothing more can be submitted
   * now.
   */
  async #submitBatch(jobs: readonly SlurmJob[]): Promise<boolean> {
    const batch = crypto.randomUUID().slice(0, 13);
    for (const [i, job] of jobs.entries()) {
      job.submission = { batch, index: jobs.length > 1 ? i : undefined };
    }
    const args = [
      ...jobs[0]!.options,
      `--comment=${batch}`,
      // A job of its own starts a second earlier than an array of one.
      ...(jobs.length > 1 ? [`--array=0-${jobs.length - 1}`] : []),
    ];
    const script = batchScript(jobs.map(({ job }) => job.folder));
    try {
      const array = await this.#reach(() => this.#client.submit(args, script));
      this.#askNow();
      if (array === undefined) {
        // It may have been submitted all the same; `squeue` will show it.
        this.#wait();
        return false;
      }
      this.#largest *= 2;
      for (const job of jobs) job.submitted(array);
      return true;
    } catch (error) {
      if (!(error instanceof SlurmError)) throw error;
      const { kind, message } = error;
      for (const job of jobs) {
        job.submission = undefined;
        if (kind === "limit") job.ready = performance.now();
        else job.finish({ reason: message });
      }
      if (kind !== "limit") return true;
      this.#largest = Math.max(1, Math.floor(jobs.length / 2));
      if (jobs.length === 1) this.#wait();
      if (this.#told !== message) {
        this.say(`${message}; submitting fewer jobs at a time`);
      }
      this.#told = message;
      return false;
    }
  }

  /** Submits nothing for some time. */
  #wait(): void {
    this.#nextSubmission = performance.now() +
      this.settings.pace.slowest * 1000;
  }

  /** How many more jobs of a task may be submitted. */
  #room(task: string): number {
    const { jobs } = this.settings;
    const submitted = [...this.#jobs].filter((it) => it.submission);
    const alike = submitted.filter(({ job }) => job.task === task);
    const ofTask = kindOf(this.settings, task).jobs ?? jobs;
    return Math.min(jobs - submitted.length, ofTask - alike.length);
  }
}

/** Does something with a job. An error ends this job only. */
function trying(job: SlurmJob, work: () => void): void {
  try {
    work();
  } catch (error) {
    lose(job, error);
  }
}

/** Ends following a job because of an error. */
function lose(job: SlurmJob, error: unknown): void {
  if (!(error instanceof Error)) throw error;
  job.finish({ reason: fullMessage(error) });
}
