import { join } from "node:path";
import type { Manifest } from "../store/manifests.ts";
import type { ChildEvent } from "./child.ts";
import type { Event } from "./events.ts";
import type { Ended, Execution, Job } from "./executors/executor.ts";
import { StageFailure, StageInterrupted, StageRestart } from "./failure.ts";
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
  /** Replaces places in the code that it ran by those in source files. */
  readonly located?: (trace: string) => Promise<string>;
  /** Seconds, without those in a queue, after which the process is stopped. */
  readonly timeout: number | undefined;
  /** Seconds that are left of it, if earlier starts have used some. */
  readonly left?: number | undefined;
  /** Seconds between asking the process to end and killing it. */
  readonly grace: number;
  /** Seconds that it may take to end after its task is done; by default, {@linkcode LAST_SECONDS}. */
  readonly lastSeconds?: number;
  readonly signal: AbortSignal;
}

/** Measurements of a process that succeeded; its seconds are to the millisecond. */
export type Measured = Pick<Manifest, "started" | "seconds" | "metrics">;

/** See {@linkcode Watch.lastSeconds}. */
const LAST_SECONDS = 10;

/** Characters after which a line of its output is split. */
const LONGEST_LINE = 1 << 20;

/** Milliseconds between two looks at the files of a process of this machine. */
const INTERVAL = 50;

/**
 * Starts a stage's process, follows it to its end by the files that it writes,
 * and emits its events.
 *
 * @throws {StageFailure} If it fails or times out.
 * @throws {StageInterrupted} If it is interrupted.
 * @throws {StageRestart} If it is to be started again.
 */
export async function follow(
  start: (onState: Job["onState"]) => Execution,
  watch: Watch,
): Promise<Measured> {
  const { stage, emit, folder, lastSeconds = LAST_SECONDS } = watch;
  const events = new Lines(join(folder, "events.jsonl"));
  const [stdout, stderr] = ["stdout", "stderr"].map((name) =>
    new Lines(join(folder, name), { longest: LONGEST_LINE })
  ) as [Lines, Lines];
  const metrics: Record<string, number> = {};
  let failure: unknown;
  /** The error that its task reported. */
  let error: StageFailure | undefined;
  let done = false;
  let saved: string | undefined;
  let lastError = "";
  let started = new Date();
  let clock = performance.now();
  let hasStarted = false;
  let thrown: Extract<ChildEvent, { type: "error" }> | undefined;
  /** Seconds that are left of its timeout, and of the time to end after its task is done. */
  let left = watch.left ?? watch.timeout ?? Infinity;
  let lastLeft = lastSeconds;
  let isQueued = false;
  const stop = (reason: unknown) => {
    failure ??= reason;
    execution.stop(watch.grace)
      // Thrown when the process has ended.
      .catch((error) => failure = error);
  };
  const take = (event: ChildEvent) => {
    switch (event.type) {
      case "done":
        done = true;
        return;
      case "error": {
        const { message, isBug } = event;
        error ??= new StageFailure(message, isBug ? {} : { code: "reported" });
        thrown = event;
        return;
      }
      case "log":
        return emit({ ...event, stage, stream: "log" });
      case "saved":
        saved = event.place;
        break;
      case "metric":
        metrics[event.name] = event.value;
    }
    emit({ ...event, stage });
  };
  const trying = (work: () => void) => {
    try {
      work();
    } catch (error) {
      // The log cannot be written (disk full, for instance): go on until the process has ended.
      stop(error);
    }
  };
  const hear = (lines: Iterable<string>, take: (line: string) => void) => {
    for (const line of lines) {
      trying(() => take(watch.lastingPaths?.(line) ?? line));
    }
  };
  const print = (line: string) =>
    emit({ type: "log", stage, line, stream: "stdout" });
  const complain = (line: string) => {
    if (line.trim() !== "") lastError = line.trim();
    emit({ type: "log", stage, line, stream: "stderr" });
  };
  const look = () => {
    // Of what it prints from now on, the next look knows between which events it was.
    const { size } = stdout;
    hear(stderr.read(), complain);
    hear(events.read(), (line) => {
      const { printed, ...event } = JSON.parse(line) as
        & ChildEvent
        & { readonly printed: number };
      checkEvent(event);
      hear(stdout.read(printed), print);
      hear(stdout.rest(), print);
      take(event);
    });
    hear(stdout.read(size), print);
  };
  let looked = performance.now();
  const tick = () => {
    const isEnding = done;
    trying(look);
    // An end that came while this thread was busy is heard of before the next tick.
    if (left <= 0) {
      stop(new StageFailure(`Timed out after ${watch.timeout} s`));
    } else if (lastLeft <= 0) {
      stop(
        new StageFailure(
          `The process did not end within ${lastSeconds} s after run() returned; a timer, worker or connection is still open`,
        ),
      );
    }
    if (failure !== undefined) left = lastLeft = Infinity;
    const now = performance.now();
    const passed = (now - looked) / 1000;
    looked = now;
    if (hasStarted && !isQueued) left -= passed;
    if (isEnding) lastLeft -= passed;
  };
  const execution = start((state) => {
    isQueued = state.state !== "RUNNING";
    trying(() => emit({ type: "queued", stage, ...state }));
  });
  lastLeft += (execution.remote?.late ?? 0) / 1000;
  if (execution.note !== undefined) {
    emit({ type: "log", stage, line: execution.note, stream: "log" });
  }
  execution.started.then(() => {
    started = new Date();
    clock = performance.now();
    hasStarted = true;
  });
  const onAbort = () => stop(new StageInterrupted());
  if (watch.signal.aborted) onAbort();
  watch.signal.addEventListener("abort", onAbort, { once: true });
  const timer = setInterval(tick, execution.remote?.interval ?? INTERVAL);
  let ended: Ended;
  try {
    ended = await execution.ended;
  } finally {
    clearInterval(timer);
    watch.signal.removeEventListener("abort", onAbort);
  }
  look();
  hear(stderr.rest(), complain);
  hear(stdout.rest(), print);
  if (thrown?.stack !== undefined) {
    const stream = thrown.isBug ? "stderr" : "stack";
    const stack = await watch.located?.(thrown.stack) ?? thrown.stack;
    hear(
      stack.split("\n"),
      (line) => emit({ type: "log", stage, line, stream }),
    );
  }
  if (failure instanceof StageInterrupted) throw new StageInterrupted(saved);
  if (failure !== undefined) throw failure;
  if (ended.again) {
    throw new StageRestart(ended.reason ?? "", hasStarted, left);
  }
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
    started: measured.started.toISOString(),
    seconds: Math.round(measured.seconds * 1000) / 1000,
    metrics,
  };
}

/** Members of each kind of event. */
const MEMBERS = {
  progress: { texts: ["unit"], numbers: ["done", "total"] },
  metric: { texts: ["name"], numbers: ["value"] },
  log: { texts: ["line"], numbers: [] },
  saved: { texts: ["place"], numbers: [] },
  error: { texts: ["message"], numbers: [] },
  done: { texts: [], numbers: [] },
} as const satisfies Record<ChildEvent["type"], unknown>;

/** @throws {StageFailure} If a task has written an event of its own that no reader of the log could show. */
function checkEvent(event: ChildEvent): void {
  const members = MEMBERS[event?.type];
  const values = new Map(Object.entries(event ?? {}));
  if (
    members?.texts.every((it) => typeof values.get(it) === "string") &&
    members.numbers.every((it) => Number.isFinite(values.get(it)))
  ) return;
  throw new StageFailure(
    `The task has written an invalid event: ${JSON.stringify(event)}`,
  );
}

function describeEnd({ code, signal }: Ended, lastError: string): string {
  const end = signal === undefined
    ? `The process ended with code ${code}`
    : `The process was ended by ${signal}${
      signal === "SIGKILL" ? ", possibly out of memory" : ""
    }`;
  return lastError === "" ? end : `${end}: ${lastError}`;
}
