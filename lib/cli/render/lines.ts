import { printable } from "../../pipeline/faults.ts";
import type { Message, Renderer } from "../messages.ts";
import type { Style } from "./style.ts";
import { LastLines, summaryLine } from "./summary.ts";
import { bytes, count, duration } from "./words.ts";

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

/** `128/8192 examples, loss 0.41` */
export function progressText(
  { done, total, unit, note }: Message & { type: "progress" },
): string {
  const text = `${done}/${total} ${unit}`;
  return printable(note === undefined ? text : `${text}, ${note}`);
}

/** How a stage ended; undefined for one that was as it should be. */
export function finishedLine(
  { stage, outcome, seconds, note }: Message & { type: "finished" },
  style: Style,
): string | undefined {
  switch (outcome) {
    case "ran":
      return `${stage}: ${style.green("done")} in ${duration(seconds)}`;
    case "restored":
      return `${stage}: ${style.cyan("restored")} from the cache`;
    case "skipped":
      return `${stage}: ${style.yellow("skipped")} - ${note ?? ""}`;
    case "unchanged":
      return undefined;
  }
}

/** Why a stage failed, and where its log is. */
export function failedLine(
  { stage, message, log, retry, attempt }: Message & { type: "failed" },
  style: Style,
): string {
  const first = `${stage}: ${style.red("failed")} - ${printable(message)}`;
  if (retry) return `${first}; ${count(attempt, "attempt")} so far`;
  return log === "" ? first : `${first}\n  log: ${log}`;
}
