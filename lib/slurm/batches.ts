import { type SlurmClient, SlurmError } from "./client.ts";
import type { SlurmJob } from "./job.ts";
import { batchScript } from "./script.ts";
import { kindOf, type SlurmSettings } from "./settings.ts";

/** The executor, as far as submitting jobs needs it. */
interface Submitter {
  readonly settings: SlurmSettings;
  readonly client: SlurmClient;
  /** The jobs that are followed. */
  readonly jobs: ReadonlySet<SlurmJob>;
  /** Calls a command. Undefined if the controller does not answer. */
  readonly reach: <T>(call: () => Promise<T>) => Promise<T | undefined>;
  /** Requests the states of jobs soon. */
  readonly askNow: () => void;
  /** Shows the user a message that concerns no single stage. */
  readonly say: (text: string) => void;
}

/**
 * Submits jobs: equal ones that become ready together as one job array, no
 * larger than the cluster accepts, and no more at a time than the settings say.
 */
export class Batches {
  readonly #settings: SlurmSettings;
  readonly #client: SlurmClient;
  readonly #jobs: ReadonlySet<SlurmJob>;
  readonly #reach: Submitter["reach"];
  readonly #askNow: () => void;
  readonly #say: (text: string) => void;
  /** Maximum number of jobs of each array that run at a time, by its id. */
  readonly #throttles = new Map<string, number>();
  /** Maximum number of jobs per array: that of the cluster, and that which it has accepted lately. */
  #maxArraySize: number | undefined;
  #largest: number | undefined;
  /** Before this time nothing is submitted, since there were too many jobs. */
  #nextSubmission = 0;
  #told = "";

  constructor({ settings, client, jobs, reach, askNow, say }: Submitter) {
    this.#settings = settings;
    this.#client = client;
    this.#jobs = jobs;
    this.#reach = reach;
    this.#askNow = askNow;
    this.#say = say;
  }

  /** Submits the jobs that are ready. */
  async submit(): Promise<void> {
    const now = performance.now();
    const ready = [...this.#jobs].filter(({ submission }) =>
      submission === undefined
    );
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
    for (const jobs of alike.values()) {
      for (let rest = jobs; rest.length > 0;) {
        const room = this.#room(rest[0]!.job.task);
        if (room <= 0) break;
        const batch = rest.slice(0, this.#largest);
        if (!await this.#submitBatch(batch, Math.min(room, batch.length))) {
          return;
        }
        rest = rest.slice(batch.length);
      }
    }
  }

  /** How many more jobs of a task may run. Each array counts as many jobs as its throttle allows. */
  #room(task: string): number {
    const { jobs } = this.#settings;
    let [all, own] = [jobs, kindOf(this.#settings, task).jobs ?? jobs];
    for (const [array, { size, task: other }] of this.#arrays()) {
      const running = Math.min(this.#throttles.get(array)!, size);
      all -= running;
      if (other === task) own -= running;
    }
    return Math.min(all, own);
  }

  /** The arrays with jobs that have not ended: the number of these jobs, and their task. */
  #arrays(): Map<string, { readonly size: number; readonly task: string }> {
    const arrays = new Map<string, { size: number; task: string }>();
    for (const { submission, job: { task } } of this.#jobs) {
      const array = submission?.array;
      if (array === undefined) continue;
      const size = arrays.get(array)?.size ?? 0;
      arrays.set(array, { size: size + 1, task });
    }
    return arrays;
  }

  /** Submits jobs as one array. Returns false if nothing more can be submitted now. */
  async #submitBatch(
    jobs: readonly SlurmJob[],
    throttle: number,
  ): Promise<boolean> {
    const batch = crypto.randomUUID().slice(0, 13);
    for (const [i, job] of jobs.entries()) {
      job.submission = { batch, index: jobs.length > 1 ? i : undefined };
    }
    const args = [
      ...jobs[0]!.options,
      `--comment=${batch}`,
      // A job of its own starts a second earlier than an array of one.
      ...(jobs.length > 1 ? [`--array=0-${jobs.length - 1}%${throttle}`] : []),
    ];
    const script = batchScript(jobs.map(({ job }) => job.folder));
    let array: string | undefined;
    try {
      array = await this.#reach(() => this.#client.submit(args, script));
    } catch (error) {
      if (!(error instanceof SlurmError)) throw error;
      if (error.kind === "limit") {
        for (const job of jobs) job.again();
        this.#tooMany(jobs.length, error.message);
        return false;
      }
      for (const job of jobs) job.finish({ code: 1, reason: error.message });
      return true;
    }
    // It may have been submitted all the same; `squeue` will show it.
    if (array === undefined) {
      this.#wait();
      return false;
    }
    this.#largest = Math.min(2 * this.#largest!, this.#maxArraySize!);
    this.#throttles.set(array, throttle);
    for (const job of jobs) job.submitted(array);
    this.#askNow();
    return true;
  }

  /** Raises the throttles of arrays when other jobs have ended. */
  async raiseThrottles(): Promise<void> {
    const arrays = this.#arrays();
    for (const [array, before] of this.#throttles) {
      const found = arrays.get(array);
      if (found === undefined) {
        this.#throttles.delete(array);
        continue;
      }
      const room = this.#room(found.task);
      if (room <= 0 || before >= found.size) continue;
      const throttle = Math.min(before + room, found.size);
      await this.#reach(() => this.#client.throttle(array, throttle));
      this.#throttles.set(array, throttle);
    }
  }

  /** Reduces the size of batches after the cluster has refused one of this size. */
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
