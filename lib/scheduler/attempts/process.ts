import { type ChildLine, linesOf, readLine } from "./channel.ts";
import type { Event } from "../events.ts";
import type { Ended, Execution } from "../executors/executor.ts";
import { StageFailure } from "../failure.ts";
import { startTimer, type Timer } from "./timer.ts";

/** Seconds that a process may take to end when its work is done. */
const LAST_SECONDS = 10;

/** How a stage's process is watched over. */
export interface Watch {
  readonly stage: string;
  /** Begins the lines that are events. */
  readonly mark: string;
  readonly emit: (event: Event) => void;
  /** Called when all its modules are loaded; what it throws ends the process. */
  readonly onReady: () => void;
  /** Seconds that it may take. */
  readonly timeout: number | undefined;
  /** Seconds between asking it to end and killing it. */
  readonly grace: number;
  readonly signal: AbortSignal;
}

/**
 * Follows a stage's process to its end, passing on what it says.
 *
 * @returns The last value of each metric.
 * @throws {StageFailure} If it did not do its work to the end.
 */
export async function follow(
  execution: Execution,
  watch: Watch,
): Promise<Record<string, number>> {
  const { stage, emit } = watch;
  const metrics: Record<string, number> = {};
  let complaint: unknown;
  let done = false;
  let lastWords = "";
  const timers: Timer[] = [];
  const stop = (reason: unknown) => {
    complaint ??= reason;
    execution.stop(watch.grace);
  };
  const stopAfter = (seconds: number, message: string) =>
    timers.push(startTimer(seconds, () => stop(new StageFailure(message))));
  const onAbort = () => stop(new StageFailure("Interrupted"));
  if (watch.signal.aborted) onAbort();
  watch.signal.addEventListener("abort", onAbort, { once: true });
  if (watch.timeout !== undefined) {
    stopAfter(watch.timeout, `Timed out after ${watch.timeout} s`);
  }
  const take = (line: ChildLine) => {
    switch (line.type) {
      case "ready":
        watch.onReady();
        break;
      case "done":
        done = true;
        stopAfter(
          LAST_SECONDS,
          `Its process did not end within ${LAST_SECONDS} s after its work: a timer, worker or connection is still open`,
        );
        break;
      case "error":
        complaint ??= new StageFailure(line.message);
        break;
      case "print":
        emit({ type: "log", stage, line: line.line, stream: "stdout" });
        break;
      case "log":
        emit({ ...line, stage, stream: "log" });
        break;
      case "metric":
        metrics[line.name] = line.value;
        emit({ ...line, stage });
        break;
      case "progress":
        emit({ ...line, stage });
    }
  };
  const listen = async (
    stream: ReadableStream<Uint8Array>,
    hear: (line: string) => void,
  ) => {
    for await (const line of linesOf(stream)) {
      try {
        hear(line);
      } catch (error) {
        // What is said cannot be kept (the disk is full, say): no reason to leave the process alone.
        stop(error);
      }
    }
  };
  const [ended] = await Promise.all([
    execution.ended,
    listen(execution.stdout, (line) => {
      readLine(line, watch.mark).forEach(take);
    }),
    listen(execution.stderr, (line) => {
      if (line.trim() !== "") lastWords = line.trim();
      emit({ type: "log", stage, line, stream: "stderr" });
    }),
  ]);
  timers.forEach((timer) => timer.end());
  watch.signal.removeEventListener("abort", onAbort);
  if (complaint !== undefined) throw complaint;
  if (ended.code !== 0 || ended.signal !== undefined) {
    throw new StageFailure(describeEnd(ended, lastWords));
  }
  if (!done) throw new StageFailure("Its process ended before its work did");
  return metrics;
}

function describeEnd({ code, signal }: Ended, lastWords: string): string {
  const end = signal === undefined
    ? `Ended with code ${code}`
    : `Was ended by ${signal}${
      signal === "SIGKILL" ? ", perhaps for want of memory" : ""
    }`;
  return lastWords === "" ? end : `${end}: ${lastWords}`;
}
