/**
 * The only module of the scheduler that runs in a stage's process. It is part
 * of every key, so it is small and imports types only.
 */
import type { Stage, Task } from "../pipeline/task.ts";

// Storage that outlives the process, and needs no permission, would be an input
// that no key contains.
for (const name of ["localStorage", "sessionStorage", "caches"]) {
  Reflect.deleteProperty(globalThis, name);
}

/** What a stage's process reads from its standard input. */
export interface Spec extends
  Pick<
    Stage<Readonly<Record<string, unknown>>>,
    "params" | "inputs" | "output" | "checkpoint" | "cpus" | "runtimes"
  > {
  /** File to which the process appends its events. */
  readonly events: string;
  /** File that is its standard output. */
  readonly stdout: string;
}

/** A parameter of the pipeline with a value, as `-S NAME=VALUE` sets it. */
export interface Setting {
  readonly name: string;
  readonly value: string;
}

/**
 * An event of a stage's process, which appends it as a JSON line to its file,
 * with the bytes that it has `printed` before.
 */
export type ChildEvent =
  | {
    readonly type: "progress";
    readonly done: number;
    readonly total: number;
    readonly unit: string;
    readonly note?: string | undefined;
  }
  | { readonly type: "log"; readonly line: string }
  | {
    readonly type: "metric";
    readonly name: string;
    readonly value: number;
    readonly step?: number | undefined;
  }
  /**
   * It has written a checkpoint, from which the next attempt resumes:
   * `step 175`.
   */
  | { readonly type: "saved"; readonly position: string }
  | {
    readonly type: "error";
    readonly message: string;
    /** The parameter of the pipeline, and its value, that mends the fault. */
    readonly setting?: Setting;
    readonly stack?: string;
    /** True for a programming error, of which the stack is shown. */
    readonly isBug: boolean;
  }
  /** `run()` has returned. */
  | { readonly type: "done" };

/** Minimum milliseconds between two progress events that a stage sends. */
const SENT_PROGRESS_PAUSE = 50;

/** Runs a task in its stage's process, which exits with code 1 if it fails. */
export async function perform(task: Pick<Task, "run">): Promise<void> {
  const { events, stdout, ...spec } = JSON.parse(readInput()) as Spec;
  const send = sender(events, stdout);
  const interrupt = new AbortController();
  const onTerm = () => interrupt.abort(new Error("Interrupted"));
  Deno.addSignalListener("SIGTERM", onTerm);
  let reported = -Infinity;
  let last = NaN;
  try {
    await task.run({
      ...spec,
      signal: interrupt.signal,
      progress(done, total, unit, note) {
        const now = performance.now();
        // The same count again comes with a note about what begins now.
        const isDue = done >= total || done === last ||
          now - reported >= SENT_PROGRESS_PAUSE;
        last = done;
        if (!isDue) return;
        reported = now;
        send({ type: "progress", done, total, unit, note: note || undefined });
      },
      log(line) {
        for (const part of String(line).split("\n")) {
          send({ type: "log", line: part });
        }
      },
      saved: (position) => send({ type: "saved", position }),
      metric(name, value, step) {
        if (!Number.isFinite(value)) {
          const expected = "expected a finite number";
          throw new TypeError(`Metric "${name}" is ${value}; ${expected}`);
        }
        send({ type: "metric", name, value, step });
      },
    });
    send({ type: "done" });
  } catch (error) {
    const { message, stack, setting }: Error & { setting?: Setting } =
      error instanceof Error
        ? error
        : { name: "Error", message: String(error) };
    const isBug = error instanceof TypeError || error instanceof ReferenceError;
    send({
      type: "error",
      message,
      ...(stack && { stack }),
      ...(setting && { setting }),
      isBug,
    });
    Deno.exit(1);
  } finally {
    Deno.removeSignalListener("SIGTERM", onTerm);
  }
}

/** All of standard input, as text. Streams would load 8 ms of code. */
function readInput(): string {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(1 << 16);
  let text = "";
  for (;;) {
    const size = Deno.stdin.readSync(buffer);
    if (size === null) return text + decoder.decode();
    text += decoder.decode(buffer.subarray(0, size), { stream: true });
  }
}

function sender(events: string, stdout: string): (event: ChildEvent) => void {
  const encoder = new TextEncoder();
  const file = Deno.openSync(events, { append: true, create: true });
  return (event) => {
    const printed = Deno.statSync(stdout).size;
    const bytes = encoder.encode(`${JSON.stringify({ ...event, printed })}\n`);
    for (let done = 0; done < bytes.length;) {
      done += file.writeSync(bytes.subarray(done));
    }
  };
}
