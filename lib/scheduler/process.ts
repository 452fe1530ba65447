import { join } from "node:path";
import type { Measured } from "../store/manifests.ts";
import type { ChildEvent } from "./child.ts";
import { type End, type Event, failed } from "./events.ts";
import type { Ended, Execution, Exit, Job } from "./executors/executor.ts";
import { Lines } from "./journal.ts";

/** Options of {@linkcode follow}. */
export interface Watch {
  /** Id of the stage, or another name for messages. */
  readonly stage: string;
  /** Folder with the files of the process; see `Job.folder`. */
  readonly folder: string;
  readonly emit: (event: Event) => void;
  /** Replaces paths in its output by paths that exist after the run. */
  readonly lastingPaths?: (text: string) => string;
  /** Replaces positions in the code that it ran by those in source files. */
  readonly located?: (trace: string) => Promise<string>;
  /** Seconds, without those in a queue, after which the process is stopped. */
  readonly timeout: number | undefined;
  /** Seconds that are left of it, if earlier starts have used some. */
  readonly left?: number | undefined;
  /** Seconds between asking the process to end and killing it. */
  readonly grace: number;
  readonly signal: AbortSignal;
}

/** How a process ends. It is started again from its last checkpoint. */
export type ProcessEnd = End<{ readonly measured: Measured }, {
  /** True if it had started. */
  readonly hasStarted: boolean;
  /** Seconds that are left of its timeout. */
  readonly left: number;
}>;

/** Seconds that a process may take to end after its task is done. */
const LAST_SECONDS = 10;

/** Characters after which a line of its output is split. */
const LONGEST_LINE = 1 << 20;

/** Milliseconds between two reads of the files of a process of this machine. */
const INTERVAL = 50;

/**
 * Starts a stage's process, follows it to its end by the files that it writes,
 * and emits its events.
 *
 * @throws {Error} When the process has ended, if its files could not be read or
 * its events not be written.
 */
export async function follow(
  start: (onState: Job["onState"]) => Execution,
  watch: Watch,
): Promise<ProcessEnd> {
  const process = new StageProcess(start, watch);
  const { ended, remote } = process.execution;
  const onAbort = () => process.interrupt();
  if (watch.signal.aborted) onAbort();
  watch.signal.addEventListener("abort", onAbort, { once: true });
  const { interval = INTERVAL } = remote ?? {};
  const poll = () => {
    process.poll();
    // Not `setInterval()`, which is due at once when a poll has taken long,
    // before the end is heard of.
    timer = setTimeout(poll, interval);
  };
  let timer = setTimeout(poll, interval);
  const last = await ended.finally(() => {
    clearTimeout(timer);
    watch.signal.removeEventListener("abort", onAbort);
  });
  return await process.end(last);
}

/** A stage's process that was started. */
class StageProcess {
  readonly execution: Execution;
  readonly #lasting: (text: string) => string;
  readonly #events: Lines;
  readonly #stdout: Lines;
  readonly #stderr: Lines;
  readonly #metrics: Record<string, number> = {};
  /** What its task has reported last: that it is done, or an error. */
  #reported: Extract<ChildEvent, { type: "done" | "error" }> | undefined;
  /** Its last checkpoint. */
  #saved: string | undefined;
  #lastError = "";
  /** When it started; before that, when it was queued. */
  #started = { at: new Date(), clock: performance.now() };
  #hasStarted = false;
  #isQueued = false;
  /** Set when it was stopped: how the stage ends then. */
  #stopped: (() => ProcessEnd) | undefined;
  /**
   * Seconds that are left of its timeout, and of the time to end after its task
   * is done.
   */
  #left: number;
  #lastLeft: number;
  #polled = performance.now();

  constructor(
    start: (onState: Job["onState"]) => Execution,
    private readonly watch: Watch,
  ) {
    const { stage, folder, emit } = watch;
    this.#lasting = watch.lastingPaths ?? ((text) => text);
    this.#events = new Lines(join(folder, "events.jsonl"));
    const printed = { longest: LONGEST_LINE };
    this.#stdout = new Lines(join(folder, "stdout"), printed);
    this.#stderr = new Lines(join(folder, "stderr"), printed);
    this.#left = watch.left ?? watch.timeout ?? Infinity;
    this.execution = start((state) => {
      this.#isQueued = state.state !== "RUNNING";
      this.#try(() => emit({ type: "queued", stage, ...state }));
    });
    const { started, remote, note } = this.execution;
    this.#lastLeft = LAST_SECONDS + (remote?.late ?? 0) / 1000;
    if (note !== undefined) {
      emit({ type: "log", stage, line: note, stream: "log" });
    }
    started.then(() => {
      this.#started = { at: new Date(), clock: performance.now() };
      this.#hasStarted = true;
    });
  }

  /** Asks it to write a checkpoint and end. */
  interrupt(): void {
    this.#stop(() => ({
      state: "interrupted",
      message: "Interrupted",
      ...(this.#saved !== undefined && { checkpoint: this.#saved }),
    }));
  }

  /**
   * Reads what it has written since the last poll, and stops it if it takes too
   * long.
   */
  poll(): void {
    const isEnding = this.#reported?.type === "done";
    this.#try(() => this.#readFiles());
    this.#checkDeadlines(isEnding);
  }

  /**
   * Compares with the deadlines what had passed at the last poll: an end that
   * came while this thread was busy is known before the next one.
   */
  #checkDeadlines(isEnding: boolean): void {
    const message = this.#left <= 0
      ? `Timed out after ${this.watch.timeout} s`
      : this.#lastLeft <= 0
      ? `The process did not end within ${LAST_SECONDS} s after run() returned; a timer, worker or connection is still open`
      : undefined;
    if (message !== undefined) this.#stop(() => failed(message));
    const now = performance.now();
    const passed = (now - this.#polled) / 1000;
    this.#polled = now;
    if (this.#hasStarted && !this.#isQueued) this.#left -= passed;
    if (isEnding) this.#lastLeft -= passed;
  }

  /** Takes a line of its events, after what it had printed before. */
  #onLine(line: string): void {
    const { stage, emit } = this.watch;
    const { printed, ...event } = JSON.parse(line) as
      & ChildEvent
      & { readonly printed: number };
    this.#print(this.#stdout.read(printed), "stdout");
    this.#print(this.#stdout.rest(), "stdout");
    switch (event.type) {
      case "done":
      case "error":
        this.#reported = event;
        return;
      case "log":
        return emit({ ...event, stage, stream: "log" });
      case "saved":
        this.#saved = event.position;
        break;
      case "metric":
        this.#metrics[event.name] = event.value;
    }
    emit({ ...event, stage });
  }

  /** How the stage ends, now that the process has ended. */
  async end(ended: Ended): Promise<ProcessEnd> {
    this.#readFiles();
    this.#print(this.#stderr.rest(), "stderr");
    this.#print(this.#stdout.rest(), "stdout");
    const reported = this.#reported;
    if (reported?.type === "error" && reported.stack !== undefined) {
      const { stack, isBug } = reported;
      const located = await this.watch.located?.(stack) ?? stack;
      this.#print(located.split("\n"), isBug ? "stderr" : "stack");
    }
    if (this.#stopped !== undefined) return this.#stopped();
    if ("reason" in ended) {
      const { reason: message, again } = ended;
      const rest = { hasStarted: this.#hasStarted, left: this.#left };
      return again ? { state: "restart", message, ...rest } : failed(message);
    }
    if (reported?.type === "error") {
      const { message, isBug, setting } = reported;
      const failure = failed(message, isBug ? undefined : "reported");
      return setting ? { ...failure, setting } : failure;
    }
    if (ended.code !== 0 || ended.signal !== undefined) {
      return failed(describeExit(ended, this.#lastError));
    }
    if (reported === undefined) {
      return failed("The process ended before run() returned");
    }
    const { started, seconds } = ended.measured ?? {
      started: this.#started.at,
      seconds: (performance.now() - this.#started.clock) / 1000,
    };
    return {
      state: "done",
      measured: {
        started: started.toISOString(),
        seconds: Math.round(seconds * 1000) / 1000,
        metrics: this.#metrics,
      },
    };
  }

  #readFiles(): void {
    // Later output is ordered by the next poll.
    const { size } = this.#stdout;
    this.#print(this.#stderr.read(), "stderr");
    for (const line of this.#events.read()) {
      this.#try(() => this.#onLine(this.#lasting(line)));
    }
    this.#print(this.#stdout.read(size), "stdout");
  }

  #print(lines: Iterable<string>, stream: "stdout" | "stderr" | "stack"): void {
    const { stage, emit } = this.watch;
    for (const text of lines) {
      const line = this.#lasting(text);
      if (stream === "stderr") this.#lastError = line.trim() || this.#lastError;
      this.#try(() => emit({ type: "log", stage, line, stream }));
    }
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      // The log cannot be written (disk full, for instance): go on until the
      // process has ended.
      this.#stop(() => {
        throw error;
      });
    }
  }

  #stop(end: () => ProcessEnd): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = end;
    this.execution.stop(this.watch.grace).catch((error) => {
      this.#stopped = () => {
        throw error;
      };
    });
  }
}

function describeExit({ code, signal }: Exit, lastError: string): string {
  const cause = signal === "SIGKILL" ? ", possibly out of memory" : "";
  const end = signal === undefined
    ? `The process ended with code ${code}`
    : `The process was ended by ${signal}${cause}`;
  return lastError === "" ? end : `${end}: ${lastError}`;
}
