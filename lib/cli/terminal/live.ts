import { printable } from "../../pipeline/faults.ts";
import { wrap } from "../arguments/arguments.ts";
import { leftText } from "./estimate.ts";
import { Forecast, Pace } from "../../scheduler/forecast.ts";
import {
  about,
  bytes,
  clip,
  duration,
  jobText,
  type Message,
  progressText,
  type Renderer,
  Transcript,
} from "./messages.ts";
import { Screen } from "./screen.ts";
import { style } from "./style.ts";

/** Minimum width of a terminal for long bars, in columns. */
const WIDE = 100;

/** Width of the time left, such as `59 min left`, in columns. */
const LEFT = 11;

/**
 * Lines of its log up to which a stage's log is shown when it has run: what it
 * found, such as the classes of the data and mistakes in it. Those of a stage
 * that reports progress are of progress, unless they are fewer still.
 */
const FEW_LINES = 20;
const FEW_WITH_PROGRESS = 4;

type Queued = Message & { type: "queued" };

interface RunningStage {
  pace: Pace;
  readonly reason: string;
  /** The lines of its log, as far as they are few. */
  readonly said: string[];
  /** Its job in a batch system. */
  job?: Queued;
}

/**
 * Renders running stages as a table at the bottom of the terminal; finished
 * stages scroll away above it.
 */
export class LiveTable implements Renderer {
  readonly #screen: Screen;
  readonly #running = new Map<string, RunningStage>();
  readonly #forecast = new Forecast();
  readonly #transcript = new Transcript();
  #pipeline = "";
  #total = 0;
  #finished = 0;
  #install: (Message & { type: "install" }) | undefined;
  #start = performance.now();

  constructor(write: (text: string) => void) {
    this.#screen = new Screen(write, (...size) => this.#rows(...size));
  }

  show(message: Message): void {
    this.#update(message).forEach((line) => this.#screen.print(line));
  }

  end(): void {
    this.#transcript.held().forEach((line) => this.#screen.print(line));
    this.#screen.close();
  }

  /** Updates the table from a message. Returns the lines to print above it. */
  #update(message: Message): readonly string[] {
    const running = "stage" in message
      ? this.#running.get(message.stage)
      : undefined;
    const now = performance.now();
    const lines = this.#transcript.update(message);
    switch (message.type) {
      case "install":
        this.#install = message;
        break;
      case "start":
        this.#pipeline = message.pipeline;
        this.#total = message.stages.length;
        this.#start = now;
        break;
      case "expected":
        this.#forecast.expect(message);
        break;
      case "started": {
        const { stage, reason } = message;
        this.#install = undefined;
        const pace = new Pace(now, this.#forecast.secondsOf(stage));
        this.#running.set(stage, { pace, reason, said: [] });
        // The row of the stage shows it.
        return [];
      }
      case "progress":
        running?.pace.update(message, now);
        break;
      case "queued":
        if (running !== undefined) this.#queue(running, message, now);
        return [];
      case "log":
        this.#transcript.keep(message);
        if (
          message.stream === "log" && running !== undefined &&
          running.said.length <= FEW_LINES
        ) running.said.push(printable(message.line));
        break;
      case "verified":
        this.#end(message.stage, message.seconds);
        break;
      case "finished": {
        const ran = message.outcome === "ran";
        this.#end(message.stage, ran ? message.seconds : undefined);
        const [line] = lines;
        if (!ran || line === undefined || running === undefined) return lines;
        const { reason } = running;
        const few = running.pace.progress ? FEW_WITH_PROGRESS : FEW_LINES;
        const said = running.said.length > few ? [] : running.said;
        // Why it ran, if there is room.
        // deno-lint-ignore no-control-regex
        const { length } = line.replace(/\x1b\[\d+m/g, "");
        const left = this.#screen.width - length - 3;
        const why = reason === "" || left < 10
          ? ""
          : ` ${style.dim(`(${clip(reason, left)})`)}`;
        const texts = said.flatMap((it) => wrap(it, this.#screen.width - 4));
        return [line + why, ...texts.map((it) => style.dim(`  | ${it}`))];
      }
      case "interrupted":
      case "failed":
        if (message.type === "failed" && message.retry) {
          this.#running.delete(message.stage);
        } else this.#end(message.stage);
        break;
      case "shown":
      case "answer":
        // Files as they are, and commands to copy.
        return lines;
    }
    return lines.flatMap((line) => wrap(line, this.#screen.width));
  }

  #queue(running: RunningStage, job: Queued, now: number): void {
    const { stage, state } = job;
    if (state !== running.job?.state && /^(PENDING|RUNNING)$/.test(state)) {
      const { progress } = running.pace;
      // The time in the queue does not count.
      running.pace = new Pace(now, this.#forecast.secondsOf(stage));
      // The job's progress may be read before Slurm is asked for its state.
      if (state === "RUNNING" && progress) running.pace.update(progress, now);
    }
    running.job = job;
  }

  #end(stage: string, seconds?: number): void {
    this.#finished++;
    this.#running.delete(stage);
    this.#forecast.end(stage, seconds);
  }

  /** The rows of the table, at most `height`. */
  #rows(width: number, height: number): string[] {
    const bar = width < WIDE ? 10 : 16;
    const rows = this.#install ? [this.#installRow(this.#install, bar)] : [];
    if (this.#running.size === 0) return rows;
    rows.push(this.#headRow());
    const room = Math.max(1, height - rows.length);
    const shown = [...this.#running];
    const hidden = shown.length > room
      ? shown.splice(Math.max(1, room - 1)).length
      : 0;
    const ids = shown.map(([id]) => id);
    const names = ids.map((id) => shortId(id, ids, Math.floor(width * 0.3)));
    const column = Math.max(...names.map((it) => it.length));
    for (const [i, [, running]] of shown.entries()) {
      const name = names[i]!.padEnd(column);
      const rest = width - column - bar - LEFT - 13;
      rows.push(`  ${name}  ${this.#progress(running, bar, rest)}`.trimEnd());
    }
    if (hidden > 0) rows.push(style.dim(`  and ${hidden} more`));
    return rows;
  }

  #headRow(): string {
    const now = performance.now();
    const left = this.#forecast.left(
      new Map([...this.#running].map(([id, { pace }]) => [id, pace.left(now)])),
    );
    const time = duration((now - this.#start) / 1000);
    const end = left === undefined ? "" : `, ${leftText(left)}`;
    const stages = `${this.#finished}/${this.#total} stages`;
    return style.bold(this.#pipeline) + style.dim(`  ${stages}  ${time}${end}`);
  }

  #progress(
    { pace, job, said }: RunningStage,
    bar: number,
    width: number,
  ): string {
    const { progress, otherWork } = pace;
    const now = performance.now();
    const isQueued = job && (job.state !== "RUNNING" || !progress);
    const left = isQueued ? undefined : pace.left(now);
    const time = left === undefined
      ? duration((now - pace.since) / 1000)
      : `${about(left)} left`;
    const number = job === undefined ? "" : `job ${job.job}: `;
    const text = isQueued
      ? jobText(job)
      : progress === undefined || progress.total <= 0
      ? said.at(-1) ?? ""
      : number + (otherWork ?? progressText(progress));
    const share = isQueued ? 0 : pace.share;
    const shown = clip(printable(text), width);
    return `${meter(bar, share)}  ${time.padEnd(LEFT)}  ${shown}`;
  }

  #installRow(
    { step, subject, done, total }: Message & { type: "install" },
    bar: number,
  ): string {
    if (total === 0) return `  ${step} ${subject}`;
    const text = `${step} ${subject}, ${bytes(done)} of ${bytes(total)}`;
    return `  ${meter(bar, Math.min(1, done / total))}  ${text}`;
  }
}

/** A bar, and its share in percent. */
function meter(width: number, share: number): string {
  const full = Math.round(share * width);
  const done = "━".repeat(full);
  const left = "━".repeat(width - full);
  const percent = `${Math.floor(100 * share)}%`.padStart(4);
  return `${style.green(done)}${style.dim(left)} ${percent}`;
}

/**
 * The id of a stage within a width, with the values that tell it apart from
 * others of its name, and the end of what is too long.
 */
function shortId(
  id: string,
  among: readonly string[],
  width: number,
): string {
  const parts = (it: string) => it.split(/(?=[@,])/);
  const [name, ...values] = parts(id);
  const same = among.map(parts).filter(([other]) => other === name);
  const telling = values.filter((value) =>
    same.some((other) => !other.includes(value))
  );
  const short = id.length <= width ? id : [name, ...telling].join("");
  return short.length <= width ? short : `…${short.slice(1 - width)}`;
}
