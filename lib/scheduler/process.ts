import { homedir } from "node:os";
import { join } from "node:path";
import type { Permissions } from "../pipeline/task.ts";
import { digest } from "../store/digest.ts";
import type { ChildEvent } from "./child.ts";
import type { Event, Runtime } from "./events.ts";
import type { Ended, Execution } from "./executors/executor.ts";
import { StageFailure } from "./failure.ts";
import { removeFolder } from "./visible.ts";

/** Seconds that a process may take to end when its work is done. */
const LAST_SECONDS = 10;

/** How a stage's process is watched over. */
interface Watch {
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

/** A line of a stage's standard output. */
type ChildLine = ChildEvent | {
  readonly type: "print";
  readonly line: string;
};

/**
 * Tells the events of a stage's process from what it, or a library within it,
 * prints. An event is what follows the mark, wherever in the line it stands.
 */
function readLine(line: string, mark: string): ChildLine[] {
  const start = line.indexOf(mark);
  if (start < 0) return [{ type: "print", line }];
  const printed: ChildLine[] = start > 0
    ? [{ type: "print", line: line.slice(0, start) }]
    : [];
  const json = line.slice(start + mark.length);
  try {
    return [...printed, JSON.parse(json) as ChildEvent];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [...printed, { type: "print", line: json }];
  }
}

/** A mark that only the process that is given it knows. */
export function newMark(): string {
  return `\x1e${crypto.randomUUID()} `;
}

/** Characters after which a line that does not end is taken for one. */
const LONGEST_LINE = 1 << 20;

/** The lines of a stream, the last one whether ended or not. */
export async function* linesOf(
  stream: ReadableStream<Uint8Array>,
): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
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

/** The most milliseconds that the runtime's own timers can count: 24 days. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Something that is to happen. */
interface Timer {
  /** Makes it not happen. */
  end(): void;
}

/** Calls something after so many seconds, also if that is months away. */
export function startTimer(seconds: number, ring: () => void): Timer {
  const due = performance.now() + seconds * 1000;
  let timer: ReturnType<typeof setTimeout>;
  const wait = () => {
    const left = due - performance.now();
    timer = left > LONGEST_TIMER
      ? setTimeout(wait, LONGEST_TIMER)
      : setTimeout(ring, Math.max(0, left));
  };
  wait();
  return { end: () => clearTimeout(timer) };
}

/** Folders and files that a stage's process may touch because of its place in a run. */
interface Access {
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** Variables that Deno itself needs; the task cannot read them unless it declares them. */
const RUNTIME_ENV = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];

/**
 * Flags of Deno that let a stage's process do what its task declares and
 * what its runtimes need, and nothing else.
 *
 * @throws {StageFailure} If a path that it needs has a comma.
 */
export function permissionFlags(
  permissions: Permissions,
  access: Access,
  runtimes: readonly Runtime[],
): string[] {
  const { net, env = [], run = [], read, write } = permissions;
  const writable = [...access.write, ...write?.() ?? []];
  const readable = [
    ...access.read,
    ...writable,
    ...read?.() ?? [],
    ...runtimes.flatMap((runtime) => runtime.read),
  ];
  const variables = [
    ...env,
    ...runtimes.flatMap(({ env }) => Object.keys(env)),
  ];
  return [
    "--no-prompt",
    ...list("read", readable),
    ...list("write", writable),
    ...(net === true ? ["--allow-net"] : []),
    ...list("env", variables),
    ...list("run", run),
    ...runtimes.flatMap((runtime) => runtime.flags),
  ];
}

/** The environment of a stage's process: what Deno needs, what the task declares, and nothing that differs by place or language. */
export function stageEnvironment(
  permissions: Permissions,
  runtimes: readonly Runtime[],
  temporary: string,
): Record<string, string> {
  const names = [...RUNTIME_ENV, ...permissions.env ?? []];
  const own = names.map((name) => [name, Deno.env.get(name)])
    .filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(own),
    NO_COLOR: "1",
    TZ: "UTC",
    LC_ALL: "C.UTF-8",
    TMPDIR: temporary,
    ...Object.assign({}, ...runtimes.map((runtime) => runtime.env)),
  };
}

/**
 * The flag that permits something for the values given, or none.
 *
 * @throws {StageFailure} If a value has a comma, which parts the values in Deno 2.9 in spite of its documented escape.
 */
export function list(name: string, values: readonly string[]): string[] {
  const parted = values.find((value) => value.includes(","));
  if (parted !== undefined) {
    throw new StageFailure(
      `Deno cannot give a stage access to a path with a comma: copy or rename "${parted}"`,
    );
  }
  const distinct = [...new Set(values)];
  return distinct.length === 0 ? [] : [`--allow-${name}=${distinct.join()}`];
}

/** An origin of its own for a stage's process; what the process stored there is removed when disposed of. */
interface OwnOrigin extends Disposable {
  readonly flags: readonly string[];
}

/**
 * Keeps a stage's process from finding what another stored: web storage and
 * caches need no permission, and without an origin all processes of a project
 * would share them. The stage itself is left without them by `child.ts`, but
 * the workers that it starts are not.
 */
export function ownOrigin(): OwnOrigin {
  const origin = `http://${crypto.randomUUID()}.invalid`;
  return {
    flags: ["--location", `${origin}/`],
    [Symbol.dispose]: () => {
      const stored = join(denoFolder(), "location_data");
      removeFolder(join(stored, digest(origin)));
      removeFolder(join(stored, "web_cache", digest(origin)));
    },
  };
}

/** Deno's own folder, as it finds it. */
function denoFolder(): string {
  const cache = Deno.build.os === "darwin"
    ? join(homedir(), "Library", "Caches")
    : Deno.env.get("XDG_CACHE_HOME") || join(homedir(), ".cache");
  return Deno.env.get("DENO_DIR") || join(cache, "deno");
}
