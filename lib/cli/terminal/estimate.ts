import type { Event, ExpectedStage } from "../../scheduler/events.ts";
import { writeAll } from "../../store/files.ts";
import { about, progressText } from "./messages.ts";

type Expected = Event & { readonly type: "expected" };
type Progress = Event & { readonly type: "progress" };

/** Estimates how long a stage will take, from its progress and earlier runs. Times are in milliseconds. */
export class Pace {
  #last: { readonly progress: Progress; readonly at: number } | undefined;
  /** True if the last report was of other work, such as compiling: the time until the next one is not that of a step. */
  #isOther = false;
  #milliseconds = 0;
  #units = 0;

  /**
   * @param since When it, or its job, started.
   * @param expected Duration of an earlier run in seconds; undefined if there was none.
   */
  constructor(readonly since: number, readonly expected: number | undefined) {}

  get progress(): Progress | undefined {
    return this.#last?.progress;
  }

  /** What the stage does instead of steps, such as compiling; undefined if it takes steps. */
  get otherWork(): string | undefined {
    return this.#isOther ? this.#last?.progress.note : undefined;
  }

  /** The fraction that is done, from 0 to 1. */
  get share(): number {
    const { done = 0, total = 0 } = this.progress ?? {};
    return total > 0 ? Math.min(1, done / total) : 0;
  }

  take(progress: Progress, now: number): void {
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

/** Shows progress on standard error, if it is a terminal, once a second after the first, and removes it at the end. */
export function progressLine(): (event: Event) => void {
  const pace = new Pace(Date.now(), undefined);
  let shown = pace.since;
  return (event) => {
    if (event.type !== "progress" || !Deno.stderr.isTerminal()) return;
    const now = Date.now();
    pace.take(event, now);
    const isEnd = event.done >= event.total;
    if (isEnd ? shown === pace.since : now - shown < 1000) return;
    shown = now;
    const left = pace.left(now);
    const time = left === undefined ? "" : `, ${about(left)} left`;
    const text = isEnd ? "" : progressText(event) + time;
    writeAll(Deno.stderr, `\r\x1b[K${text}`);
  };
}

interface TimeLeft {
  readonly seconds: number;
  /** True if some stages have no estimate, so this is a lower bound. */
  readonly isMinimum: boolean;
}

const PAUSE = 1000;

/** Estimates how long a run will take. */
export class Forecast {
  /** The stages that have not ended, in the order of the graph. */
  readonly #stages = new Map<string, ExpectedStage>();
  #limits: Omit<Expected, "stages"> | undefined;
  /** Durations of the stages of this run in seconds, by name. */
  readonly #seen = new Map<string, number[]>();
  #left: TimeLeft | undefined;
  #computed = -Infinity;

  expect({ stages, ...limits }: Expected): void {
    this.#limits = limits;
    for (const stage of stages) this.#stages.set(stage.stage, stage);
  }

  /** Expected duration of a stage in seconds: that of an earlier run, else the mean of stages of its name. */
  secondsOf(stage: string): number | undefined {
    const seen = this.#seen.get(nameOf(stage));
    return this.#stages.get(stage)?.seconds ??
      (seen && seen.reduce((sum, it) => sum + it, 0) / seen.length);
  }

  /** @param seconds Undefined if it did not run. */
  end(stage: string, seconds?: number): void {
    this.#stages.delete(stage);
    if (seconds === undefined) return;
    const name = nameOf(stage);
    this.#seen.set(name, [...this.#seen.get(name) ?? [], seconds]);
  }

  /** The time left of the run; undefined if there is nothing to estimate it from. */
  left(
    running: ReadonlyMap<string, Pace>,
    now: number,
  ): TimeLeft | undefined {
    if (now - this.#computed >= PAUSE) {
      this.#computed = now;
      this.#left = this.#compute(running, now);
    }
    if (this.#left === undefined) return undefined;
    const { seconds, isMinimum } = this.#left;
    const passed = (now - this.#computed) / 1000;
    return { seconds: Math.max(0, seconds - passed), isMinimum };
  }

  #compute(
    running: ReadonlyMap<string, Pace>,
    now: number,
  ): TimeLeft | undefined {
    if (this.#limits === undefined) return undefined;
    const stages = [...this.#stages.values()].map((stage) => {
      const pace = running.get(stage.stage);
      const seconds = pace ? pace.left(now) : this.secondsOf(stage.stage);
      return { ...stage, seconds, runs: pace !== undefined };
    });
    const isKnown = stages.map(({ seconds }) => seconds !== undefined);
    if (!isKnown.includes(true)) return undefined;
    const isMinimum = isKnown.includes(false);
    const seconds = makespan(stages, this.#limits);
    return isMinimum && seconds < 1 ? undefined : { seconds, isMinimum };
  }
}

function nameOf(stage: string): string {
  return stage.replace(/@.*/, "");
}

interface Planned extends Omit<ExpectedStage, "seconds"> {
  /** Undefined, if unknown, counts as 0. */
  readonly seconds: number | undefined;
  readonly runs: boolean;
}

/**
 * Seconds until all stages have run, if each starts as soon as its inputs exist
 * and the limits allow it.
 */
export function makespan(
  stages: readonly Planned[],
  limits: Pick<Expected, "cpus" | "gpus" | "jobs">,
): number {
  // A stage that asks for more than there is runs alone.
  const all = stages.map(({ cpus, seconds = 0, ...stage }) => ({
    ...{ ...stage, seconds, cpus: Math.min(cpus, limits.cpus) },
  }));
  const waiting = new Set(all.filter(({ runs }) => !runs));
  const unfinished = new Set(all.map(({ stage }) => stage));
  let running = all.filter(({ runs }) => runs)
    .map((stage) => ({ stage, end: stage.seconds }));
  const free = (kind: "cpus" | "gpus") =>
    running.reduce((left, { stage }) => left - stage[kind], limits[kind]);
  for (let now = 0;;) {
    let [cpus, gpus] = [free("cpus"), free("gpus")];
    for (const stage of waiting) {
      if (running.length >= limits.jobs) break;
      const fits = running.length === 0 ||
        stage.cpus <= cpus && stage.gpus <= gpus;
      if (!fits || stage.needs.some((it) => unfinished.has(it))) continue;
      waiting.delete(stage);
      cpus -= stage.cpus;
      gpus -= stage.gpus;
      running.push({ stage, end: now + stage.seconds });
    }
    if (running.length === 0) return now;
    now = Math.min(...running.map(({ end }) => end));
    for (const { stage, end } of running) {
      if (end === now) unfinished.delete(stage.stage);
    }
    running = running.filter(({ end }) => end > now);
  }
}
