import { printable } from "../pipeline/fault.ts";
import { EIO, osError } from "../store/os_error.ts";
import {
  bytes,
  failedLine,
  finishedLine,
  LastLines,
  type Message,
  progressText,
  type Renderer,
  type Style,
  styleFor,
  summaryLine,
} from "./messages.ts";

/**
 * The renderer for whoever is there: lines of JSON on request, a live table
 * in a terminal, plain lines elsewhere and under CI.
 */
export async function chooseRenderer(json: boolean): Promise<Renderer> {
  const { stdout } = Deno;
  const write = stdout.isTerminal() ? terminalWriter() : writeOut;
  if (json) return jsonLines(write);
  const style = styleFor(stdout);
  const live = stdout.isTerminal() && !Deno.env.get("CI") &&
    Deno.env.get("TERM") !== "dumb";
  if (!live) return plainLines(write, style);
  const { liveTable } = await import("./live.ts");
  return liveTable({ write, size: consoleSize }, style);
}

/** Writes to standard output, all of it. */
export function writeOut(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) {
    done += Deno.stdout.writeSync(bytes.subarray(done));
  }
}

/** Writes to the terminal until it is gone: then nobody reads, and SIGHUP says the rest. */
function terminalWriter(): (text: string) => void {
  let gone = false;
  return (text) => {
    if (gone) return;
    try {
      writeOut(text);
    } catch (error) {
      if (osError(error) !== EIO) throw error;
      gone = true;
    }
  };
}

function consoleSize() {
  try {
    return Deno.consoleSize();
  } catch {
    return undefined; // A terminal that does not say.
  }
}

/** Milliseconds between two lines on the progress of one thing. */
const PAUSE = 10_000;

/**
 * Shows what happens as plain lines, for logs, pipes and CI. What a stage
 * writes to its standard error is shown only if it fails: libraries say much
 * there that nobody asked for.
 */
export function plainLines(
  write: (text: string) => void,
  style: Style,
): Renderer {
  const told = new Map<string, number>();
  const errors = new LastLines();
  /** True if nothing was said of this for a while; the first time does not count. */
  const isDue = (subject: string): boolean => {
    const now = performance.now();
    const last = told.get(subject);
    if (last !== undefined && now - last < PAUSE) return false;
    told.set(subject, now);
    return last !== undefined;
  };
  const say = (line: string) => write(`${line}\n`);
  return {
    show: (message) => {
      if (message.type === "log" && message.stream === "stderr") {
        return errors.add(message);
      }
      if (message.type === "failed" || message.type === "finished") {
        const lines = errors.take(message.stage);
        if (message.type === "failed") lines.forEach((it) => say(`  | ${it}`));
      }
      const line = lineOf(message, isDue, style);
      if (line !== undefined) say(line);
    },
    end: () => {},
  };
}

/** A message as a line; undefined for those that are not worth one. */
function lineOf(
  message: Message,
  isDue: (subject: string) => boolean,
  style: Style,
): string | undefined {
  switch (message.type) {
    case "engine":
      return style.dim(`engine: ${message.engine} - ${message.reason}`);
    case "install":
      return installLine(message, isDue);
    case "note":
      return message.text;
    case "started":
      return message.attempt > 1
        ? `${message.stage}: attempt ${message.attempt} - ${message.reason}`
        : `${message.stage}: run - ${message.reason}`;
    case "progress":
      return isDue(message.stage)
        ? style.dim(`${message.stage}: ${progressText(message)}`)
        : undefined;
    case "log":
      return `${style.dim(`${message.stage} |`)} ${printable(message.line)}`;
    case "finished":
      return finishedLine(message, style);
    case "failed":
      return failedLine(message, style);
    case "shown":
      return `\n${message.text.trimEnd()}\n\n${style.dim(message.path)}`;
    case "summary":
      return summaryLine(message, style);
    case "start":
    case "decided":
    case "metric":
      return undefined;
  }
}

function installLine(
  { step, subject, done, total }: Message & { type: "install" },
  isDue: (subject: string) => boolean,
): string | undefined {
  const what = `${step} ${subject}`;
  if (total === 0) return isDue(what) ? undefined : `engine: ${what}`;
  if (done === 0) return `engine: ${what} (${bytes(total)})`;
  return isDue(what)
    ? `engine: ${what}: ${Math.floor(100 * done / total)}%`
    : undefined;
}

/**
 * Shows each message as one line of JSON. Those of one turn of the event loop
 * are written at once: a run with nothing to do says all it has to in a few.
 */
function jsonLines(write: (text: string) => void): Renderer {
  let lines = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    const text = lines;
    lines = "";
    if (text !== "") write(text);
  };
  return {
    show(message) {
      lines += `${JSON.stringify(ordered(message))}\n`;
      timer ??= setTimeout(flush, 0);
    },
    end: flush,
  };
}

/** A summary with the fields first that every version has. */
function ordered(message: Message): Message {
  if (message.type !== "summary") return message;
  const { type, ran, restored, unchanged, failed, seconds, ...more } = message;
  return { type, ran, restored, unchanged, failed, seconds, ...more };
}
