import { printable } from "../../pipeline/faults.ts";
import { systemCode, writeAll } from "../../files/files.ts";
import { type Arguments, EXIT } from "../arguments/arguments.ts";
import { hangUp } from "./interrupts.ts";
import { bytes, progressText, type Renderer, Transcript } from "./messages.ts";
import { style } from "./style.ts";

/**
 * Chooses the renderer: JSON lines on request, a live table in a terminal,
 * plain lines elsewhere and under CI.
 */
export async function chooseRenderer(args: Arguments) {
  const renderer = await rendererFor(args);
  const say: Renderer["show"] = (message) => renderer.show(message);
  return {
    say,
    note: (text: string) => say({ type: "note", text }),
    [Symbol.dispose]: () => renderer.end(),
  };
}

async function rendererFor(args: Arguments): Promise<Renderer> {
  const { stdout } = Deno;
  const isTerminal = stdout.isTerminal();
  let isClosed = false;
  const write = (text: string) => {
    if (isClosed) return;
    try {
      writeAll(stdout, text);
    } catch (error) {
      const isEnd = isTerminal
        ? systemCode(error) === "EIO"
        : isBrokenPipe(error);
      if (!isEnd) throw error;
      isClosed = true;
      // SIGHUP reports that a terminal is closed; a pipe without a reader ends
      // the run in the same way.
      if (!isTerminal) hangUp();
    }
  };
  if (args.has("json")) {
    return { show: (it) => write(`${JSON.stringify(it)}\n`), end() {} };
  }
  const isLive = isTerminal && !Deno.env.get("CI") &&
    Deno.env.get("TERM") !== "dumb";
  if (!isLive) return plainLines(write);
  const { LiveTable } = await import("./live.ts");
  return new LiveTable(write);
}

/**
 * Writes a text to standard output. Exits with code 129 if the reader has
 * closed it, as `| head` does.
 */
export function writeOut(text: string): void {
  try {
    writeAll(Deno.stdout, text);
  } catch (error) {
    if (!isBrokenPipe(error)) throw error;
    Deno.exit(EXIT.hungUp);
  }
}

/**
 * Writes a line to standard output: a value as JSON with `--json`, else a text.
 */
export function writeLine(args: Arguments, value: unknown, text: string): void {
  writeOut(`${args.has("json") ? JSON.stringify(value) : text}\n`);
}

/**
 * Starts of texts, but not of numbers, that spreadsheets take for a formula,
 * which can read files and the network.
 */
const FORMULA = /^(?:[=@\t\r]|[+-](?![\d.,+\-\s[\]%e]*$))/i;

/**
 * A line of CSV (RFC 4180); what would be a formula gets an apostrophe, as is
 * usual.
 */
export function csvLine(texts: readonly string[], delimiter = ","): string {
  return texts.map((text) => FORMULA.test(text) ? `'${text}` : text)
    .map((text) =>
      /["\r\n]/.test(text) || text.includes(delimiter)
        ? `"${text.replaceAll('"', '""')}"`
        : text
    ).join(delimiter);
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe;
}

/**
 * Minimum milliseconds between two progress lines of a stage or an
 * installation.
 */
const PROGRESS_LINE_PAUSE = 10_000;

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
  /**
   * True if the pause since the subject was last shown is over; false the first
   * time.
   */
  const isDue = (subject: string): boolean => {
    const last = shownAt.get(subject);
    if (last !== undefined && now() - last < PROGRESS_LINE_PAUSE) return false;
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
        if (stream === "stderr") transcript.keep(message);
        else if (stream !== "stack") {
          shownAt.set(stage, now());
          print(`${style.dim(`${stage} |`)} ${printable(line)}`);
        }
      } else transcript.update(message).forEach(print);
    },
    end: () => transcript.held().forEach(print),
  };
}
