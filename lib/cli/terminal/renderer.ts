import { printable } from "../../pipeline/faults.ts";
import { EIO, osError, writeAll } from "../../store/files.ts";
import { type Arguments, EXIT } from "../arguments/arguments.ts";
import { hangUp } from "./interrupts.ts";
import {
  bytes,
  type Message,
  progressText,
  type Renderer,
  Transcript,
} from "./messages.ts";
import { style } from "./style.ts";

/**
 * Chooses the renderer: JSON lines on request, a live table in a terminal,
 * plain lines elsewhere and under CI.
 */
export async function chooseRenderer(json: boolean): Promise<Renderer> {
  const { stdout } = Deno;
  // SIGHUP reports that a terminal is closed; a pipe without a reader ends the run in the same way.
  const write = stdout.isTerminal()
    ? writerUntil((error) => osError(error) === EIO, () => {})
    : writerUntil(isBrokenPipe, hangUp);
  if (json) return jsonLines(write);
  const live = stdout.isTerminal() && !Deno.env.get("CI") &&
    Deno.env.get("TERM") !== "dumb";
  if (!live) return plainLines(write);
  const { liveTable } = await import("./live.ts");
  return liveTable({ write, size: consoleSize });
}

/** Writes a text to standard output. Exits with code 129 if the reader has closed it, as `| head` does. */
export function writeOut(text: string): void {
  try {
    writeAll(Deno.stdout, text);
  } catch (error) {
    if (!isBrokenPipe(error)) throw error;
    Deno.exit(EXIT.hungUp);
  }
}

/** Writes a line to standard output: a value as JSON with `--json`, else a text. */
export function writeLine(args: Arguments, value: unknown, text: string): void {
  writeOut(`${args.has("json") ? JSON.stringify(value) : text}\n`);
}

/** A line of CSV (RFC 4180). */
export function csvLine(texts: readonly string[]): string {
  return texts.map((text) =>
    /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
  ).join(",");
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe;
}

/** Writes to standard output until an error says that it is closed. */
function writerUntil(
  isEnd: (error: unknown) => boolean,
  onEnd: () => void,
): (text: string) => void {
  let closed = false;
  return (text) => {
    if (closed) return;
    try {
      writeAll(Deno.stdout, text);
    } catch (error) {
      if (!isEnd(error)) throw error;
      closed = true;
      onEnd();
    }
  };
}

function consoleSize() {
  try {
    return Deno.consoleSize();
  } catch {
    return undefined; // The terminal does not report its size.
  }
}

function jsonLines(write: (text: string) => void): Renderer {
  return {
    show: (message) => write(`${JSON.stringify(ordered(message))}\n`),
    end() {},
  };
}

/** The message with the fields of a summary that every version has first. */
function ordered(message: Message): Message {
  if (message.type !== "summary") return message;
  const { type, ran, restored, unchanged, failed, seconds, ...more } = message;
  return { type, ran, restored, unchanged, failed, seconds, ...more };
}

/** Minimum milliseconds between two progress lines of a stage or an installation. */
const PROGRESS_PAUSE = 10_000;

/**
 * Renders messages as plain lines, for files, pipes and CI. What a stage writes
 * to its standard error is shown only if it fails: libraries write a lot there.
 *
 * @param now The time in milliseconds.
 */
export function plainLines(
  write: (text: string) => void,
  now = () => performance.now(),
): Renderer {
  const shownAt = new Map<string, number>();
  const transcript = new Transcript();
  /** True if the pause since the subject was last shown is over; false the first time. */
  const isDue = (subject: string): boolean => {
    const last = shownAt.get(subject);
    if (last !== undefined && now() - last < PROGRESS_PAUSE) return false;
    shownAt.set(subject, now());
    return last !== undefined;
  };
  const print = (line: string) => write(`${line}\n`);
  return {
    show(message) {
      if (message.type === "install") {
        const { step, subject, done, total } = message;
        const line = `engine: ${step} ${subject}`;
        const isFirst = !shownAt.has(line);
        if (total === 0) print(line);
        else if (isDue(line)) {
          print(`${line}: ${Math.floor(100 * done / total)}%`);
        } else if (isFirst) print(`${line} (${bytes(total)})`);
      } else if (message.type === "progress") {
        const { stage } = message;
        if (isDue(stage)) {
          print(style.dim(`${stage}: ${progressText(message)}`));
        }
      } else if (message.type === "log") {
        const { stage, line, stream } = message;
        if (stream === "stderr") transcript.hear(message);
        else if (stream !== "stack") {
          shownAt.set(stage, now());
          print(`${style.dim(`${stage} |`)} ${printable(line)}`);
        }
      } else transcript.take(message).forEach(print);
    },
    end: () => transcript.held().forEach(print),
  };
}
