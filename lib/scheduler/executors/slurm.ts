import { join } from "node:path";
import { removeFolder } from "../../store/files.ts";
import { fingerprint } from "../../store/stats.ts";
import type {
  Ended,
  Execution,
  Executor,
  Job,
  JobEvent,
  PlacedTask,
} from "./executor.ts";
import { local } from "./local.ts";
import { type QueuedJob, SlurmClient, SlurmError } from "./slurm_client.ts";
import {
  admit,
  batchScript,
  type End,
  hasArrived,
  jobOf,
  type Note,
  readBegan,
  readEnd,
  readNote,
  reserve,
  retire,
  sizeOf,
  writeNote,
  writeScript,
} from "./slurm_job.ts";
import {
  kindOf,
  nodesOf,
  sbatchOptions,
  type SlurmSettings,
} from "./slurm_settings.ts";
import { verdict } from "./slurm_verdict.ts";

/** A job that this scheduler follows. */
interface Task {
  readonly job: Job;
  readonly options: readonly string[];
  readonly stdout: Tail;
  readonly stderr: Tail;
  readonly started: PromiseWithResolvers<void>;
  readonly ended: PromiseWithResolvers<Ended>;
  /** When it became ready to be submitted, in milliseconds. */
  ready: number;
  note: Note | undefined;
  /** The round whose files are read. */
  round: number;
  /** The state that was reported last, with its reason. */
  state: string;
  /** Since when `squeue` has not listed it. */
  missing: number | undefined;
  /** Since when it is known to have ended, and how, as far as its own file says. */
  over: { readonly since: number; end?: End } | undefined;
  /** How often it was submitted in vain since its last start. */
  tries: number;
  /** True if Slurm put it back into the queue, so that another round follows. */
  requeued: boolean;
  /** Since when all that it wrote is waited for. */
  arriving: number | undefined;
  /** Set when it is to end: when it was asked, and when it is killed. */
  stop:
    | { asked: boolean; killed: boolean; readonly deadline: number }
    | undefined;
  /** True if the run was interrupted and leaves it. */
  leaves: boolean;
}

/** What a node answered. */
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

/** Array number of jobs, and how many of its tasks run at a time. */
interface JobArray {
  throttle: number;
  readonly tasks: Set<Task>;
}

/**
 * Runs stages as jobs of Slurm. Equal stages that become ready together are one
 * job array. One loop follows all of them: states come from one `squeue` for
 * all, ends from the file that each job writes in its run folder.
 */
export class Slurm implements Executor {
  readonly allots = true;
  readonly outlives = true;
  /** What happens to jobs when the run is interrupted. */
  onInterrupt: SlurmSettings["onInterrupt"];
  readonly #settings: SlurmSettings;
  readonly #client: SlurmClient;
  readonly #say: (text: string) => void;
  readonly #machines = new Map<string, string>();
  readonly #tasks = new Set<Task>();
  readonly #arrays = new Map<string, JobArray>();
  #working = false;
  #wake: () => void = () => {};
  /** When `squeue` is called next, and the pause after it, in milliseconds. */
  #nextQueue = 0;
  #pause = 0;
  /** True while the controller does not answer. */
  #unreachable = false;
  /** The most tasks of an array, for the cluster and as far as it has accepted them lately. */
  #maxArraySize: number | undefined;
  #largest: number | undefined;
  /** Before this time nothing is submitted, since there were too many jobs. */
  #nextSubmission = 0;
  #told = "";
  /** Jobs to remove from the queue, since others have taken their place. */
  #discarded: string[] = [];

  /** @param say Tells the user something that concerns no single stage. */
  constructor(settings: SlurmSettings, say: (text: string) => void = () => {}) {
    this.#settings = settings;
    this.onInterrupt = settings.onInterrupt;
    this.#say = say;
    this.#client = new SlurmClient(settings.pace.call);
  }

  of({ task, local: isLocal }: PlacedTask): Executor {
    const run = kindOf(this.#settings, task).run ??
      (isLocal ? "local" : "slurm");
    return run === "local" ? local : this;
  }

  start(job: Job): Execution {
    const note = readNote(job.folder);
    if (note === undefined) {
      const machine = this.#machines.get(nodesOf(this.#settings, job.task));
      writeScript(job, job.needs.length > 0 ? machine : undefined);
    }
    return this.#start(job, note);
  }

  #start(job: Job, note: Note | undefined): Execution {
    const task: Task = {
      job,
      options: sbatchOptions(this.#settings, job),
      stdout: new Tail(),
      stderr: new Tail(),
      started: Promise.withResolvers(),
      ended: Promise.withResolvers(),
      ready: performance.now(),
      note,
      round: note?.round ?? 0,
      state: "",
      missing: undefined,
      over: undefined,
      requeued: false,
      tries: 0,
      arriving: undefined,
      stop: undefined,
      leaves: false,
    };
    if (note?.array !== undefined) this.#join(note.array, task);
    this.#tasks.add(task);
    this.#pause = 0;
    this.#nextQueue = Math.min(this.#nextQueue, performance.now());
    if (!this.#working) this.#work();
    this.#wake();
    return {
      stdout: task.stdout.stream,
      stderr: task.stderr.stream,
      started: task.started.promise,
      ended: task.ended.promise,
      stop: async (grace, interrupted = false) => {
        if (interrupted && this.onInterrupt === "leave") {
          task.leaves = true;
        }
        const deadline = performance.now() + grace * 1000;
        task.stop ??= { asked: false, killed: false, deadline };
        this.#wake();
        await task.ended.promise;
      },
    };
  }

  /** What decides on which nodes the stages of a task run: `partition "gpu", constraint ""`. */
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
    for (const name of ["output", "tmp", "checkpoint"]) {
      Deno.mkdirSync(join(folder, name), { recursive: true });
    }
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
      const execution = this.#start(job, undefined);
      const stop = () => execution.stop(0);
      signal.addEventListener("abort", stop, { once: true });
      const [stdout, stderr, ended] = await Promise.all([
        new Response(execution.stdout).text(),
        new Response(execution.stderr).text(),
        execution.ended,
      ]);
      signal.removeEventListener("abort", stop);
      signal.throwIfAborted();
      if (ended.code !== 0 || ended.followed !== undefined) {
        throw new Error(
          `The job that asks a node (${
            this.nodesOf(task)
          }) for its engine failed: ${
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

  /** Sets the processors and GPUs that stages on these nodes must find; see {@linkcode nodesOf}. */
  expect(nodes: string, machine: string): void {
    this.#machines.set(nodes, machine);
  }

  async reap(folder: string): Promise<void> {
    const note = readNote(folder);
    const id = note && jobOf(note);
    if (id !== undefined) await this.#client.kill([id]);
  }

  /** Follows all tasks until there are none left. */
  async #work(): Promise<void> {
    this.#working = true;
    try {
      while (this.#tasks.size > 0) {
        const asked = await this.#ask();
        let looks = MOST_LOOKS;
        for (const task of this.#tasks) {
          const isPending = task.state.startsWith("PENDING");
          if (asked || !isPending || looks-- > 0) this.#look(task);
        }
        await this.#stopTasks();
        this.#leaveTasks();
        await this.#submit();
        if (this.#tasks.size > 0) await this.#sleep();
      }
    } catch (error) {
      for (const task of this.#tasks) {
        task.stdout.close();
        task.stderr.close();
        task.ended.reject(error);
      }
      this.#tasks.clear();
    } finally {
      this.#working = false;
    }
  }

  async #sleep(): Promise<void> {
    const { gather, files } = this.#settings.pace;
    const waits = [...this.#tasks].some(({ note }) => note === undefined);
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
    const followed = [...this.#tasks].filter(({ note }) => note !== undefined);
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
      for (const task of followed) {
        const array = arrays.get(task.note!.batch);
        if (task.note!.array === undefined && array !== undefined) {
          this.#submitted(task, array);
        }
        const id = idOf(task);
        const listed = id === undefined ? undefined : byId.get(id);
        if (this.#hear(task, listed)) changed = true;
      }
      await this.#raiseThrottles();
    }
    this.#pause = changed || this.#pause === 0
      ? queue * 1000
      : Math.min(1.5 * this.#pause, slowest * 1000);
    this.#nextQueue = performance.now() + this.#pause;
    return jobs !== undefined;
  }

  /** Calls a command. Undefined if the controller does not answer, which the user is told. */
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

  /** Takes what `squeue` says of a task; undefined if it does not list it. Returns true if something changed. */
  #hear(task: Task, listed: QueuedJob | undefined): boolean {
    const now = performance.now();
    if (listed === undefined) {
      task.missing ??= now;
      const missing = now - task.missing;
      if (
        task.note!.array === undefined && missing > SETTLING &&
        reserve(task.job.folder)
      ) {
        // The batch was not submitted, or comes too late: its jobs end at once.
        this.#again(task);
      } else if (task.over?.end !== undefined) {
        this.#finishRound(task, task.over.end);
      } else if (missing > this.#settings.pace.vanished * 1000) {
        this.#discard(task);
        this.#finish(task, {
          code: 1,
          reason: `Job ${
            idOf(task) ?? ""
          } is no longer in the queue and has left no exit file in "${task.job.folder}"`,
        });
      }
      return false;
    }
    task.missing = undefined;
    const { state, reason, node } = listed;
    const shown = [state, reason].filter((it) => it !== "").join(" ");
    const changed = task.state !== shown;
    task.state = shown;
    if (changed && state !== "COMPLETED" && state !== "COMPLETING") {
      this.#report(task, {
        type: "queued",
        job: listed.id,
        state,
        ...(reason !== "" && { reason }),
      });
    }
    const judged = verdict(state, reason, {
      job: listed.id,
      node,
      memory: task.options.find((it) => it.startsWith("--mem="))?.slice(6),
      time: task.options.find((it) => it.startsWith("--time="))?.slice(7),
    });
    if (judged === "active") {
      if (state === "PENDING" && task.over !== undefined) {
        task.over = undefined;
        task.requeued = true;
      }
      return changed;
    }
    task.over ??= { since: now };
    const { end, since } = task.over;
    // Its own file says more, and may arrive late. A job that was killed may not have written it.
    const { late, queue } = this.#settings.pace;
    const patience = judged === "ended" || task.arriving !== undefined
      ? late
      : readBegan(task.job.folder, task.round) !== undefined
      ? 2 * queue
      : 0;
    if (end === undefined && now - since < patience * 1000) return changed;
    if (judged === "ended") {
      if (end !== undefined) this.#finishRound(task, end);
      else {
        this.#finish(task, {
          code: 1,
          reason:
            `Job ${listed.id} ended on node "${node}" and has left no exit file in "${task.job.folder}": check that the node has this folder, and see job.log there`,
        });
      }
    } else if (
      task.stop === undefined &&
      (judged.again && task.tries < MOST_TRIES ||
        judged.limit && this.#hasCheckpoint(task))
    ) this.#restart(task, judged.reason);
    else this.#finish(task, { code: end?.code ?? 1, reason: judged.reason });
    return true;
  }

  /** True if the current round has left a checkpoint. */
  #hasCheckpoint(task: Task): boolean {
    const began = fingerprint(join(task.job.folder, `began-${task.round}`));
    if (began === undefined) return false;
    return newest(task.job.checkpoint) > began.modified;
  }

  /** Reads the files of a task, unless another scheduler has taken its result and removed them. */
  #look(task: Task): void {
    try {
      this.#lookAtRound(task);
    } catch (error) {
      const isGone = error instanceof Deno.errors.NotFound &&
        fingerprint(task.job.folder) === undefined;
      if (!isGone) throw error;
      this.#finish(task, { code: 0, followed: "taken" });
    }
  }

  /** Reads the files of a task's current round. */
  #lookAtRound(task: Task): void {
    const { folder } = task.job;
    if (task.note === undefined) return;
    if (fingerprint(folder) === undefined) {
      this.#finish(task, { code: 0, followed: "taken" });
      return;
    }
    for (;;) {
      const end = readEnd(folder, task.round);
      if (readBegan(folder, task.round) !== undefined) task.started.resolve();
      task.stdout.read(join(folder, `stdout-${task.round}`));
      task.stderr.read(join(folder, `stderr-${task.round}`));
      const next = readBegan(folder, task.round + 1);
      if (next === undefined) {
        if (
          end !== undefined && task.over?.end === undefined && !task.requeued
        ) {
          this.#roundEnded(task, end);
        }
        return;
      }
      this.#report(task, {
        type: "restarted",
        reason: `Started again on node "${next.node}" from the last checkpoint`,
      });
      this.#nextRound(task);
    }
  }

  #nextRound(task: Task): void {
    task.round++;
    task.tries = 0;
    task.over = undefined;
    task.requeued = false;
    task.arriving = undefined;
    task.stdout.rewind();
    task.stderr.rewind();
  }

  /** A round has written its exit file. */
  #roundEnded(task: Task, end: End): void {
    const now = performance.now();
    task.arriving ??= now;
    if (!hasArrived(task.job.folder, task.round, end)) {
      if (now - task.arriving < this.#settings.pace.late * 1000) return;
      this.#finish(task, {
        code: 1,
        reason: `The output of job ${
          idOf(task)
        } on node "${end.node}" is not complete here after ${this.#settings.pace.late} s: check the file system of "${task.job.folder}"`,
      });
      return;
    }
    task.stdout.read(join(task.job.folder, `stdout-${task.round}`));
    task.stderr.read(join(task.job.folder, `stderr-${task.round}`));
    // After these, Slurm says whether it was cancelled, pre-empted or out of memory.
    const asksSlurm = end.cause === "term" && end.code !== 0 ||
      end.code === 137;
    if (asksSlurm && task.stop === undefined) {
      task.over = { since: now, end };
      this.#nextQueue = 0;
      return;
    }
    this.#finishRound(task, end);
  }

  #finishRound(task: Task, end: End): void {
    const id = idOf(task);
    if (task.stop === undefined && end.cause === "limit" && end.code !== 0) {
      if (end.fresh) {
        this.#restart(
          task,
          `Job ${id} reached its time limit; it goes on from its checkpoint`,
        );
        return;
      }
      this.#finish(task, {
        code: end.code,
        reason:
          `Job ${id} reached its time limit and has left no checkpoint: raise "time" in its resources or the profile`,
      });
      return;
    }
    if (end.cause === "machine") {
      this.#finish(task, {
        code: end.code,
        reason:
          `Node "${end.node}" of job ${id} is of another kind than the one whose engine is in the stage's key (it has ${end.machine.trim()}): select nodes of one kind by "partition" or "constraint" in the profile`,
      });
      return;
    }
    const signal = end.code > 128 ? SIGNALS[end.code - 128] : undefined;
    this.#finish(task, {
      code: end.code,
      ...(signal !== undefined && { signal }),
      measured: {
        started: new Date(end.began),
        seconds: (end.ended - end.began) / 1000,
      },
    });
  }

  /** Submits a job again that goes on from its checkpoint. */
  #restart(task: Task, reason: string): void {
    const { folder } = task.job;
    this.#report(task, { type: "restarted", reason });
    if (readBegan(folder, task.round) !== undefined) this.#nextRound(task);
    else task.tries++;
    this.#discard(task);
    task.over = undefined;
    retire(folder);
    this.#again(task);
  }

  /** Removes a task's job from the queue, should it still be there. */
  #discard(task: Task): void {
    const id = idOf(task);
    if (id !== undefined) this.#discarded.push(id);
  }

  /** Makes a task ready to be submitted again. */
  #again(task: Task): void {
    this.#part(task);
    task.note = undefined;
    task.missing = undefined;
    task.state = "";
    task.ready = performance.now();
  }

  #finish(task: Task, ended: Ended): void {
    this.#part(task);
    this.#tasks.delete(task);
    task.started.resolve();
    task.stdout.close();
    task.stderr.close();
    task.ended.resolve(ended);
  }

  #report(task: Task, event: JobEvent): void {
    task.stdout.add(`${task.job.mark}${JSON.stringify(event)}\n`);
  }

  /** Ends tasks that are to end. */
  async #stopTasks(): Promise<void> {
    const now = performance.now();
    const stopping = [...this.#tasks].filter(({ stop, leaves }) =>
      stop !== undefined && !leaves
    );
    for (const task of stopping) {
      if (task.note === undefined) this.#finish(task, { code: 1 });
    }
    const ask = stopping.filter((task) =>
      idOf(task) !== undefined && !task.stop!.asked
    );
    const kill = stopping.filter((task) =>
      idOf(task) !== undefined && !task.stop!.killed &&
      now >= task.stop!.deadline
    );
    if (ask.length > 0) {
      const ids = ask.map((task) => idOf(task)!);
      const asked = await this.#reach(async () => {
        await this.#client.cancelPending(ids);
        await this.#client.terminate(ids);
        return true;
      });
      if (asked) { for (const { stop } of ask) stop!.asked = true; }
      this.#nextQueue = 0;
    }
    if (this.#discarded.length > 0) {
      const done = await this.#reach(async () => {
        await this.#client.kill(this.#discarded);
        return true;
      });
      if (done) this.#discarded = [];
    }
    if (kill.length > 0) {
      const killed = await this.#reach(async () => {
        await this.#client.kill(kill.map((task) => idOf(task)!));
        return true;
      });
      if (killed) { for (const { stop } of kill) stop!.killed = true; }
      this.#nextQueue = 0;
    }
  }

  /** Stops following tasks that go on without this scheduler. */
  #leaveTasks(): void {
    for (const task of this.#tasks) {
      const leaves = task.leaves ||
        this.#settings.detach && task.stop === undefined &&
          task.job.name !== "probe";
      if (!leaves || task.over !== undefined || task.arriving !== undefined) {
        continue;
      }
      if (task.note === undefined) {
        if (task.leaves) this.#finish(task, { code: 1 });
      } else if (task.leaves || task.state !== "") {
        this.#finish(task, { code: 0, followed: "left" });
      }
    }
  }

  /** Submits tasks that have gathered. */
  async #submit(): Promise<void> {
    const now = performance.now();
    const ready = [...this.#tasks].filter(({ note }) => note === undefined);
    if (ready.length === 0 || now < this.#nextSubmission) return;
    const { gather } = this.#settings.pace;
    const since = ready.map(({ ready }) => now - ready);
    if (
      Math.min(...since) < gather * 1000 && Math.max(...since) < gather * 10_000
    ) return;
    this.#maxArraySize ??= await this.#reach(() => this.#client.maxArraySize());
    if (this.#maxArraySize === undefined) return this.#wait();
    this.#largest ??= this.#maxArraySize;
    const alike = Map.groupBy(ready, ({ options }) => JSON.stringify(options));
    for (const tasks of alike.values()) {
      for (let rest = tasks; rest.length > 0;) {
        const room = this.#settings.jobs - this.#running();
        if (room <= 0) return;
        const batch = rest.slice(0, this.#largest);
        if (!await this.#submitBatch(batch, Math.min(room, batch.length))) {
          return;
        }
        rest = rest.slice(batch.length);
      }
    }
  }

  /** The most tasks that can run now: of each array, as many as its throttle lets. */
  #running(): number {
    return [...this.#arrays.values()].reduce(
      (sum, { throttle, tasks }) => sum + Math.min(throttle, tasks.size),
      0,
    );
  }

  /** Submits tasks as one array. Returns false if nothing more can be submitted now. */
  async #submitBatch(
    tasks: readonly Task[],
    throttle: number,
  ): Promise<boolean> {
    const batch = crypto.randomUUID().slice(0, 13);
    for (const [index, task] of tasks.entries()) {
      task.note = {
        batch,
        round: task.round,
        ...(tasks.length > 1 && { index }),
      };
      writeNote(task.job.folder, task.note);
      admit(task.job.folder, batch);
    }
    const args = [
      ...tasks[0]!.options,
      `--comment=${batch}`,
      // A job of its own starts a second earlier than an array of one.
      ...(tasks.length > 1
        ? [`--array=0-${tasks.length - 1}%${throttle}`]
        : []),
    ];
    const script = batchScript(tasks.map(({ job }) => job.folder), batch);
    let array: string | undefined;
    try {
      array = await this.#reach(() => this.#client.submit(args, script));
    } catch (error) {
      if (!(error instanceof SlurmError)) throw error;
      if (error.kind === "limit") {
        for (const task of tasks) this.#again(task);
        this.#tooMany(tasks.length, error.message);
        return false;
      }
      for (const task of tasks) {
        this.#finish(task, { code: 1, reason: error.message });
      }
      return true;
    }
    // Otherwise it may have been submitted; `squeue` will say.
    if (array === undefined) {
      this.#wait();
      return false;
    }
    this.#largest = Math.min(2 * this.#largest!, this.#maxArraySize!);
    this.#arrays.set(array, { throttle, tasks: new Set() });
    for (const task of tasks) this.#submitted(task, array);
    this.#pause = 0;
    this.#nextQueue = 0;
    return true;
  }

  #submitted(task: Task, array: string): void {
    task.note = { ...task.note!, array };
    task.missing = undefined;
    writeNote(task.job.folder, task.note);
    this.#join(array, task);
  }

  #join(array: string, task: Task): void {
    const known = this.#arrays.get(array);
    if (known !== undefined) known.tasks.add(task);
    else {
      this.#arrays.set(array, { throttle: Infinity, tasks: new Set([task]) });
    }
  }

  #part(task: Task): void {
    const array = task.note?.array;
    if (array === undefined) return;
    const { tasks } = this.#arrays.get(array)!;
    tasks.delete(task);
    if (tasks.size === 0) this.#arrays.delete(array);
  }

  /** Lets arrays run as many tasks as others have left room for. */
  async #raiseThrottles(): Promise<void> {
    for (const [id, array] of this.#arrays) {
      const room = this.#settings.jobs - this.#running();
      if (room <= 0 || array.throttle >= array.tasks.size) continue;
      const throttle = Math.min(array.throttle + room, array.tasks.size);
      await this.#reach(() => this.#client.throttle(id, throttle));
      array.throttle = throttle;
    }
  }

  /** The cluster takes no batch of this size now: smaller ones follow, later. */
  #tooMany(size: number, message: string): void {
    this.#largest = Math.max(1, Math.floor(size / 2));
    if (this.#told !== message) {
      this.#say(`${message}; submitting fewer jobs at a time`);
      this.#told = message;
    }
    if (size === 1) this.#wait();
  }

  #wait(): void {
    this.#nextSubmission = performance.now() +
      this.#settings.pace.slowest * 1000;
  }
}

function idOf({ note }: Task): string | undefined {
  return note && jobOf(note);
}

const SIGNALS: Readonly<Record<number, string>> = {
  6: "SIGABRT",
  7: "SIGBUS",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  15: "SIGTERM",
};

/** When something in a folder was written last, in milliseconds since 1970. */
function newest(folder: string): number {
  return Math.max(
    0,
    ...[...Deno.readDirSync(folder)].map(({ name, isDirectory }) =>
      isDirectory
        ? newest(join(folder, name))
        : fingerprint(join(folder, name))?.modified ?? 0
    ),
  );
}

/** A stream of what is appended to a file, and of lines in between. */
class Tail {
  readonly stream: ReadableStream<Uint8Array>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #offset = 0;
  #closed = false;
  /** Lines to add when the file is at the end of a line. */
  #added: string[] = [];
  #midLine = false;

  constructor() {
    this.stream = new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: () => {
        this.#closed = true;
      },
    });
  }

  /** Reads what was appended to the file since the last call. */
  read(path: string): void {
    if (this.#closed || sizeOf(path) <= this.#offset) return;
    using file = Deno.openSync(path);
    file.seekSync(this.#offset, Deno.SeekMode.Start);
    for (;;) {
      const buffer = new Uint8Array(1 << 16);
      const count = file.readSync(buffer);
      if (count === null) break;
      this.#offset += count;
      this.#midLine = buffer[count - 1] !== NEWLINE;
      this.#controller.enqueue(buffer.subarray(0, count));
    }
    if (!this.#midLine) this.#flush();
  }

  /** Adds a line after the current line of the file. */
  add(line: string): void {
    if (this.#closed) return;
    this.#added.push(line);
    if (!this.#midLine) this.#flush();
  }

  #flush(): void {
    for (const line of this.#added) {
      this.#controller.enqueue(new TextEncoder().encode(line));
    }
    this.#added = [];
  }

  /** Goes on with another file, which is read from its start. */
  rewind(): void {
    if (this.#midLine && !this.#closed) {
      this.#controller.enqueue(new Uint8Array([NEWLINE]));
    }
    this.#midLine = false;
    this.#offset = 0;
    this.#flush();
  }

  close(): void {
    if (this.#closed) return;
    this.rewind();
    this.#closed = true;
    this.#controller.close();
  }
}

const NEWLINE = 10;

/** Milliseconds after which a submission whose outcome is unknown is done again. */
const SETTLING = 2_000;

/** How often a job that does not start is submitted again. */
const MOST_TRIES = 3;

/** Pending jobs whose files are read between two calls of `squeue`. */
const MOST_LOOKS = 64;
