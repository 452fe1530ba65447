import type { Manifest } from "../store/manifests.ts";
import type { ChildEvent } from "./child.ts";
import type { Event } from "./events.ts";
import type { Ended, Execution, JobEvent } from "./executors/executor.ts";
import { StageFailure, StageInterrupted } from "./failure.ts";

/** Options of {@linkcode follow}. */
interface Watch {
  readonly stage: string;
  /** Prefix of the lines that are events; see {@linkcode newMark}. */
  readonly mark: string;
  readonly emit: (event: Event) => void;
  /** Replaces paths in its output by paths that exist after the run. */
  readonly lastingPaths?: (text: string) => string;
  /** Seconds, without those in a queue, after which the process is stopped. */
  readonly timeout: number | undefined;
  /** Seconds between asking the process to end and killing it. */
  readonly grace: number;
  /** Seconds that it may take to end after its task is done; by default, {@linkcode LAST_SECONDS}. */
  readonly lastSeconds?: number;
  readonly signal: AbortSignal;
}

/** Measurements of a process that succeeded; its seconds are to the millisecond. */
export type Measured = Pick<Manifest, "started" | "seconds" | "metrics">;

/** Result of {@linkcode follow}. */
interface Followed {
  readonly measured: Measured;
  /** See {@linkcode Ended.round}. */
  readonly round: number | undefined;
}

/** See {@linkcode Watch.lastSeconds}. */
const LAST_SECONDS = 10;

/**
 * Follows a stage's process to its end and emits its events.
 *
 * @throws {StageFailure} If it fails or times out.
 * @throws {StageInterrupted} If it is interrupted.
 */
export async function follow(
  execution: Execution,
  watch: Watch,
): Promise<Followed> {
  const { stage, emit, lastSeconds = LAST_SECONDS } = watch;
  const metrics: Record<string, number> = {};
  let failure: unknown;
  /** The error that its task reported; discarded if the job starts again. */
  let error: StageFailure | undefined;
  let done = false;
  let saved: string | undefined;
  let lastError = "";
  let started = new Date();
  let clock = performance.now();
  /** Runs from the end of its task to its own. */
  let ending: Disposable | undefined;
  const stop = (reason: unknown) => {
    failure ??= reason;
    execution.stop(watch.grace)
      // Thrown when the process has ended.
      .catch((error) => failure = error);
  };
  let hasStarted = false;
  /** True while its last output may still arrive. */
  let hasEnded = false;
  const onEnd = () => {
    hasEnded = true;
  };
  execution.ended.then(onEnd, onEnd);
  const timeout = new Countdown(watch.timeout ?? Infinity, () => {
    if (hasEnded) return;
    stop(new StageFailure(`Timed out after ${watch.timeout} s`));
  });
  const endSoon = () => {
    const timer = startTimer(lastSeconds, async () => {
      const isRunning = await execution.isRunning?.() ?? true;
      if (ending !== timer || hasEnded) return;
      // Otherwise it has ended, and files that tell how appear late.
      if (!isRunning) return endSoon();
      stop(
        new StageFailure(
          `The process did not end within ${lastSeconds} s after run() returned; a timer, worker or connection is still open`,
        ),
      );
    });
    ending = timer;
  };
  const endLater = () => {
    ending?.[Symbol.dispose]();
    ending = undefined;
  };
  const onAbort = () => stop(new StageInterrupted());
  if (watch.signal.aborted) onAbort();
  watch.signal.addEventListener("abort", onAbort, { once: true });
  execution.started.then(() => {
    started = new Date();
    clock = performance.now();
    hasStarted = true;
    timeout.start();
  });
  const take = (line: ChildLine) => {
    switch (line.type) {
      case "done":
        done = true;
        endSoon();
        break;
      case "error": {
        const { message, stack, isBug } = line;
        error ??= new StageFailure(
          message,
          isBug ? {} : { code: "reported" },
        );
        const stream = isBug ? "stderr" : "stack";
        for (const line of stack?.split("\n") ?? []) {
          emit({ type: "log", stage, line, stream });
        }
        break;
      }
      case "saved":
        saved = line.place;
        emit({ ...line, stage });
        break;
      case "restarted":
        error = undefined;
        done = false;
        endLater();
        timeout.pause();
        lastError = "";
        break;
      case "queued":
        if (line.state !== "RUNNING") timeout.pause();
        else if (hasStarted) timeout.start();
        break;
      case "metric":
        metrics[line.name] = line.value;
    }
    const event = eventOf(line, stage);
    if (event !== undefined) emit(event);
  };
  const listen = async (
    stream: ReadableStream<Uint8Array>,
    hear: (line: string) => void,
  ) => {
    const output = ReadableStream.from(outputOf(stream, execution.ended));
    for await (const line of linesOf(output)) {
      try {
        hear(watch.lastingPaths?.(line) ?? line);
      } catch (error) {
        // The log cannot be written (disk full, for instance): go on reading until the process has ended.
        stop(error);
      }
    }
  };
  const [end, ...heard] = await Promise.allSettled([
    execution.ended,
    listen(execution.stdout, (line) => {
      readLine(line, watch.mark).forEach(take);
    }),
    listen(execution.stderr, (line) => {
      if (line.trim() !== "") lastError = line.trim();
      emit({ type: "log", stage, line, stream: "stderr" });
    }),
  ]);
  timeout.pause();
  endLater();
  watch.signal.removeEventListener("abort", onAbort);
  if (end.status === "rejected") throw end.reason;
  const ended = end.value;
  for (const it of heard) if (it.status === "rejected") throw it.reason;
  if (failure instanceof StageInterrupted) throw new StageInterrupted(saved);
  if (failure !== undefined) throw failure;
  if (ended.reason !== undefined) throw new StageFailure(ended.reason);
  if (error !== undefined) throw error;
  if (ended.code !== 0 || ended.signal !== undefined) {
    throw new StageFailure(describeEnd(ended, lastError));
  }
  if (!done) {
    throw new StageFailure("The process ended before run() returned");
  }
  const measured = ended.measured ??
    { started, seconds: (performance.now() - clock) / 1000 };
  return {
    measured: {
      started: measured.started.toISOString(),
      seconds: Math.round(measured.seconds * 1000) / 1000,
      metrics,
    },
    round: ended.round,
  };
}

/**
 * Milliseconds between two looks at the output of a process that has ended, and
 * the number of looks, without output and in total, after which the scheduler
 * stops reading it.
 */
const LOOK = 50;
const SILENT_LOOKS = 10;
const MOST_LOOKS = 100;

/**
 * What a process writes to a stream, to its own end: a program that it left
 * behind may keep the stream open.
 */
async function* outputOf(
  stream: ReadableStream<Uint8Array>,
  ended: Promise<unknown>,
): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  let timer: ReturnType<typeof setInterval> | undefined;
  let isClosed = false;
  let silent = 0;
  const onEnd = () => {
    if (isClosed) return;
    let looks = 0;
    // Not by the clock: while this thread is busy, nothing is read, either.
    timer = setInterval(() => {
      if (++silent >= SILENT_LOOKS || ++looks >= MOST_LOOKS) reader.cancel();
    }, LOOK);
  };
  ended.then(onEnd, onEnd);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      silent = 0;
      yield value;
    }
  } finally {
    isClosed = true;
    clearInterval(timer);
  }
}

function describeEnd({ code, signal }: Ended, lastError: string): string {
  const end = signal === undefined
    ? `The process ended with code ${code}`
    : `The process was ended by ${signal}${
      signal === "SIGKILL" ? ", possibly out of memory" : ""
    }`;
  return lastError === "" ? end : `${end}: ${lastError}`;
}

/** Milliseconds that `setTimeout()` can wait at most: 24 days. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/**
 * Calls a function after any number of seconds, unless disposed of. What
 * happened while the thread was busy is handled first.
 */
export function startTimer(seconds: number, ring: () => void): Disposable {
  const due = performance.now() + seconds * 1000;
  let timer: ReturnType<typeof setTimeout>;
  const ringNext = () => {
    timer = setTimeout(ring, 1);
  };
  const wait = () => {
    const left = due - performance.now();
    timer = left > LONGEST_TIMEOUT
      ? setTimeout(wait, LONGEST_TIMEOUT)
      : setTimeout(ringNext, Math.max(0, left));
  };
  wait();
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Calls a function when the stretches of time between `start()` and `pause()` add up to some seconds. */
class Countdown {
  readonly #ring: () => void;
  #left: number;
  #since = 0;
  #timer: Disposable | undefined;

  /** @param seconds Infinity for never. */
  constructor(seconds: number, ring: () => void) {
    this.#left = seconds;
    this.#ring = ring;
  }

  /** Starts, or goes on. */
  start(): void {
    if (this.#timer !== undefined || this.#left === Infinity) return;
    this.#since = performance.now();
    this.#timer = startTimer(this.#left, this.#ring);
  }

  pause(): void {
    if (this.#timer === undefined) return;
    this.#timer[Symbol.dispose]();
    this.#timer = undefined;
    this.#left -= (performance.now() - this.#since) / 1000;
  }
}

/** A line of the standard output of a stage's process. */
type ChildLine = ChildEvent | JobEvent | {
  readonly type: "print";
  readonly line: string;
};

/** A prefix for event lines that other code in the process can neither know nor guess. */
export function newMark(): string {
  return `\x1e${crypto.randomUUID()} `;
}

/** The event for a line of a stage's process; undefined for lines that the user does not see. */
export function eventOf(line: ChildLine, stage: string): Event | undefined {
  switch (line.type) {
    case "queued":
    case "progress":
    case "metric":
      return { ...line, stage };
    case "log":
      return { ...line, stage, stream: "log" };
    case "restarted":
      return { type: "log", stage, line: line.reason, stream: "log" };
    case "print":
      return { type: "log", stage, line: line.line, stream: "stdout" };
    default:
      return undefined;
  }
}

/**
 * Separates events from what the task, or a library, prints. An event follows
 * the mark, which may be anywhere in the line.
 */
export function readLine(line: string, mark: string): ChildLine[] {
  const start = line.indexOf(mark);
  if (start < 0) return [{ type: "print", line }];
  const printed: ChildLine[] = start > 0
    ? [{ type: "print", line: line.slice(0, start) }]
    : [];
  const json = line.slice(start + mark.length);
  try {
    return [...printed, JSON.parse(json) as ChildEvent | JobEvent];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [...printed, { type: "print", line: json }];
  }
}

/** Characters after which a line is split. */
const LONGEST_LINE = 1 << 20;

/** Lines of a stream, including the last one if it does not end with a line break. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const text = decoder.decode(bytes, { stream: true });
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
    if (rest.length > LONGEST_LINE) {
      yield rest;
      rest = "";
    }
  }
  if (rest !== "") yield rest;
}
