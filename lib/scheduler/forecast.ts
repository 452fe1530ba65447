import type { Event, Expectation, ExpectedStage } from "./events.ts";

type Progress = Event & { readonly type: "progress" };

/**
 * Estimates how long a stage will take, from its progress and earlier runs.
 * Times are in milliseconds.
 */
export class Pace {
  #last: { readonly progress: Progress; readonly at: number } | undefined;
  /**
   * True if the last report was of other work, such as compiling: the time
   * until the next one is not that of a step.
   */
  #isOther = false;
  #milliseconds = 0;
  #units = 0;

  /**
   * @param since When it, or its job, started.
   * @param expected Duration of an earlier run in seconds; undefined if there
   * was none.
   */
  constructor(readonly since: number, readonly expected: number | undefined) {}

  get progress(): Progress | undefined {
    return this.#last?.progress;
  }

  /**
   * What the stage does instead of steps, such as compiling; undefined if it
   * takes steps.
   */
  get otherWork(): string | undefined {
    return this.#isOther ? this.#last?.progress.note : undefined;
  }

  /** The fraction that is done, from 0 to 1. */
  get share(): number {
    const { done = 0, total = 0 } = this.progress ?? {};
    return total > 0 ? Math.min(1, done / total) : 0;
  }

  update(progress: Progress, now: number): void {
    const last = this.#last;
    const steps = progress.done - (last?.progress.done ?? progress.done);
    if (last !== undefined && steps > 0 && !this.#isOther) {
      this.#milliseconds += now - last.at;
      this.#units += steps;
    }
    this.#isOther = last === undefined
      ? progress.done === 0 && progress.note !== undefined
      : steps === 0 && progress.note !== last.progress.note;
    this.#last = { progress, at: now };
  }

  /** Seconds left; undefined if there is nothing to estimate them from. */
  left(now: number): number | undefined {
    const { share } = this;
    const byRun = this.expected === undefined
      ? undefined
      : Math.max(0, this.expected - (now - this.since) / 1000);
    const bySteps = this.#leftBySteps(now);
    if (bySteps === undefined) return share < 1 && byRun || undefined;
    if (byRun === undefined) return bySteps;
    // Earlier runs predict better at the start, steps later.
    const weight = Math.min(1, 5 * share);
    return weight * bySteps + (1 - weight) * byRun;
  }

  #leftBySteps(now: number): number | undefined {
    if (this.#last === undefined || this.#units === 0) return undefined;
    const { progress: { done, total }, at } = this.#last;
    // The work after the last step is unknown.
    if (done >= total) return undefined;
    const left = (total - done) * this.#milliseconds / this.#units;
    const passed = this.#isOther ? 0 : now - at;
    return Math.max(0, left - passed) / 1000;
  }
}

/** Estimates how long a run will take. */
export class Forecast {
  /** The stages that have not ended, in the order of the graph. */
  readonly #stages = new Map<string, ExpectedStage>();
  #limits = { cpus: 1, gpus: 0, jobs: 1 };
  /**
   * Durations of stages in seconds, of this run and of earlier ones, by name.
   */
  readonly #seen = new Map<string, number[]>();

  expect({ stages, ...limits }: Omit<Expectation, "type">): void {
    this.#limits = limits;
    for (const stage of stages) {
      this.#stages.set(stage.stage, stage);
      this.#note(stage.stage, stage.seconds);
    }
  }

  /**
   * Expected duration of a stage in seconds: that of an earlier run, else
   * the mean of stages of its name.
   */
  secondsOf(stage: string): number | undefined {
    const seen = this.#seen.get(nameOf(stage));
    return this.#stages.get(stage)?.seconds ??
      (seen && seen.reduce((sum, it) => sum + it, 0) / seen.length);
  }

  /** @param seconds Undefined if it did not run. */
  end(stage: string, seconds?: number): void {
    this.#stages.delete(stage);
    this.#note(stage, seconds);
  }

  #note(stage: string, seconds: number | undefined): void {
    if (seconds === undefined) return;
    this.#seen.getOrInsertComputed(nameOf(stage), () => []).push(seconds);
  }

  /**
   * The time left of the run: of the longest chain of stages that need each
   * other, or of all work if it uses a limit fully.
   *
   * @param running Seconds left of the stages that run, as far as they are
   * known.
   * @returns Seconds, and whether they are a minimum, since nothing is known of
   * some stages; undefined if nothing is known of any.
   */
  left(running: ReadonlyMap<string, number | undefined>) {
    const { cpus, gpus, jobs } = this.#limits;
    const ends = new Map<string, number>();
    const work = { cpus: 0, gpus: 0, jobs: 0 };
    let estimated = 0;
    for (const [id, stage] of this.#stages) {
      const left = running.has(id) ? running.get(id) : this.secondsOf(id);
      if (left !== undefined) estimated++;
      const seconds = left ?? 0;
      const start = Math.max(0, ...stage.needs.map((it) => ends.get(it) ?? 0));
      ends.set(id, start + seconds);
      // A stage that asks for more than there is runs alone.
      work.cpus += seconds * Math.min(stage.cpus, cpus);
      work.gpus += seconds * Math.min(stage.gpus, gpus);
      work.jobs += seconds;
    }
    const seconds = Math.max(
      ...ends.values(),
      work.cpus / cpus,
      work.gpus / (gpus || 1),
      work.jobs / jobs,
    );
    const isMinimum = estimated < this.#stages.size;
    if (estimated === 0 || isMinimum && seconds < 1) return undefined;
    return { seconds, isMinimum };
  }
}

function nameOf(stage: string): string {
  return stage.replace(/@.*/, "");
}
