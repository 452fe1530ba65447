import type { FileDifference } from "../../artifacts/file_difference.ts";
import type { EngineChoice } from "../../engine/install/choice.ts";
import type { InstallProgress } from "../../engine/install/install.ts";
import { printable } from "../../pipeline/faults.ts";
import type { TransferStats } from "../../remote/remote.ts";
import type { Event, Summary } from "../../scheduler/events.ts";
import type { Verification } from "../../scheduler/verify.ts";
import { asTyped, WIDTH, wrap } from "../arguments/arguments.ts";
import { style } from "./style.ts";
import { terminalMarkdown } from "./terminal_markdown.ts";

type Engine = Pick<EngineChoice, "engine" | "identity" | "reason">;

/**
 * What a command reports while it works: the scheduler's events and its own.
 */
export type Message =
  | Event
  /** The engine that was selected, and why. */
  | { readonly type: "engine" } & Engine
  /** Progress of an installation before stages can run. */
  | { readonly type: "install" } & InstallProgress
  /** A stage was run again by `verify`. */
  | ({ readonly type: "verified" } & Verification<FileDifference>)
  | { readonly type: "note"; readonly text: string }
  /** A file that the pipeline shows at its end. */
  | {
    readonly type: "shown";
    readonly stage: string;
    readonly path: string;
    readonly text: string;
  }
  | RemoteMessage
  | Answer;

/** What a run got from a remote, and gave to it. */
export type RemoteMessage = TransferStats & {
  readonly type: "remote";
  readonly remote: string;
};

/** The last lines of a run: its findings and where its results are. */
export interface Answer {
  readonly type: "answer";
  /** The verdicts of the reports, one for each task. */
  readonly findings: readonly {
    /**
     * Title of the task, and what distinguishes it from others of the report.
     */
    readonly title: string;
    readonly headline: string;
    readonly reasons: readonly string[];
    /** Recommended rank; undefined if nothing was learnt. */
    readonly rank?: number;
    /**
     * True for a report that does not decide the rank of the exported adapter.
     */
    readonly isAside?: boolean;
  }[];
  /** Faults of the data. */
  readonly faults: readonly string[];
  readonly reports: readonly string[];
  readonly adapters: readonly string[];
  /** Command that classifies a text with the first adapter. */
  readonly predict?: string;
  /** Command that serves a page with its adapter at every rank. */
  readonly try?: string;
  /** Lines of Python that load the first adapter. */
  readonly python: readonly string[];
}

/** Displays messages. */
export interface Renderer {
  show(message: Message): void;
  /** Restores the terminal. Called once, also after an error. */
  end(): void;
}

/**
 * The line that a message prints wherever it is displayed; undefined for
 * messages that print nothing or are displayed in other ways.
 */
export function messageLine(message: Message): string | undefined {
  switch (message.type) {
    case "engine":
      return style.dim(`engine: ${message.engine} - ${message.reason}`);
    case "note":
      return message.text;
    case "started": {
      const { stage, attempt, reason } = message;
      const what = attempt > 1 ? `attempt ${attempt}` : "run";
      return `${style.dim(`${stage}:`)} ${what} - ${reason}`;
    }
    case "queued":
      return style.dim(`${message.stage}: ${jobText(message)}`);
    case "finished": {
      const { stage, outcome, seconds } = message;
      // Skipped ones are listed by the reason.
      if (outcome === "unchanged" || outcome === "skipped") return undefined;
      return outcome === "ran"
        ? `${stage}: ${style.green("done")} in ${duration(seconds)}`
        : `${stage}: ${style.cyan("restored")} from the cache`;
    }
    case "kept": {
      const { stage, folder } = message;
      const files = count(message.files, "file");
      return `${stage}: moved ${files} of yours from its output folder to "${folder}"`;
    }
    case "failed": {
      const { stage, log, retry, attempt } = message;
      const why = printable(shortened(message.message));
      const line = `${stage}: ${style.red("failed")} - ${why}`;
      if (retry) return `${line}; retrying after ${count(attempt, "attempt")}`;
      return log === "" ? line : `${line}\n  log: ${log}`;
    }
    case "interrupted": {
      const { stage, checkpoint } = message;
      const next = checkpoint === undefined
        ? "; run again to restart it"
        : `, checkpoint at ${printable(checkpoint)}; run again to resume`;
      return `${stage}: ${style.yellow("interrupted")}${next}`;
    }
    case "verified": {
      const { stage, files, seconds } = message;
      const differing = Object.entries(message.differing);
      const all = count(files, "file");
      const result = differing.length === 0
        ? `${all} ${style.green("identical")}`
        : `${differing.length} of ${all} ${style.red("different")}`;
      return [
        `${stage}: ${result}, in ${duration(seconds)}`,
        ...differing.map(([path, it]) => `  ${path}: ${differenceText(it)}`),
      ].join("\n");
    }
    case "shown": {
      const text = message.path.endsWith(".md")
        ? terminalMarkdown(message.text)
        : message.text.trimEnd();
      return `\n${text}\n\n${style.dim(message.path)}`;
    }
    case "remote":
      return remoteLine(message);
    case "summary":
      return summaryLine(message);
    case "answer":
      return answerLines(message).join("\n");
    default:
      return undefined;
  }
}

/**
 * `12 of 4096 bytes differ, the first at 1032; in "q.lora_A" 8,
 * in "q.lora_B" 4`
 */
function differenceText(it: FileDifference | null): string {
  if (it === null) return "only one of the two runs has made it";
  const { sizes: [before, after], first, bytes, tensors } = it;
  const tensorTexts = Object.entries(tensors).map(([name, bytes]) =>
    `in ${name === "" ? "the header" : `"${name}"`} ${bytes}`
  );
  const all = count(Math.max(before, after), "byte");
  return [
    `${bytes} of ${all} differ, the first at ${first}`,
    ...(before === after
      ? []
      : [`it has ${before} bytes, the new one ${after}`]),
    ...(tensorTexts.length === 0 ? [] : [listed(tensorTexts)]),
  ].join("; ");
}

/** `12 of 12 results from https://..., 31 MB` */
function remoteLine(message: RemoteMessage): string | undefined {
  const { remote, asked, fetched, offered, stored } = message;
  const fetchedText = `${fetched} of ${count(asked, "result")} from ${remote}`;
  const all = count(offered, "new result");
  const storedText = `${stored} of ${all} stored in ${remote}`;
  const lines = [
    ...(asked === 0 ? [] : [`${fetchedText}, ${bytes(message.fetchedBytes)}`]),
    ...(offered === 0 ? [] : [`${storedText}, ${bytes(message.storedBytes)}`]),
  ];
  return lines.length === 0 ? undefined : lines.join("\n");
}

const MAX_NAMES = 5;

/** Characters of a text of a stage that are shown: some fifty lines. */
const MAX_SHOWN = 4000;

/**
 * A text of a stage as it is shown: its beginning, and how much more the log
 * has.
 */
function shortened(text: string): string {
  if (text.length <= MAX_SHOWN) return text;
  const more = bytes(text.length - MAX_SHOWN);
  return `${text.slice(0, MAX_SHOWN)}... (${more} more are in the log)`;
}

/** Number of the last lines of output that are shown with a failure. */
const LAST_LINES = 20;

/**
 * The lines that messages print. An error that several stages share is printed
 * for the first one, with the names of the others before the summary, where
 * skipped stages are listed by the reason. Stages that an interrupt has kept
 * from starting are counted in the summary only. A stage that fails for a
 * reason that its task did not report is shown with the last lines of its
 * output.
 */
export class Transcript {
  readonly #errors = new Map<string, string[]>();
  readonly #skipped = new Map<string, string[]>();
  readonly #output = new Map<string, string[]>();

  /** Keeps a line of a stage's output for its failure. */
  keep({ stage, line, stream }: Event & { type: "log" }): void {
    if (stream === "stack") return;
    const before = this.#output.get(stage) ?? [];
    this.#output.set(
      stage,
      [...before, printable(shortened(line))].slice(-LAST_LINES),
    );
  }

  update(message: Message): string[] {
    const lines = message.type === "summary" ? this.held() : [];
    const line = this.#holds(message) ? undefined : messageLine(message);
    if (line === undefined) return lines;
    lines.push(asTyped(line));
    const { type } = message;
    if (type !== "failed" && type !== "finished" && type !== "interrupted") {
      return lines;
    }
    const output = this.#output.get(message.stage) ?? [];
    this.#output.delete(message.stage);
    if (type !== "failed" || message.code === "reported") return lines;
    const last = output.filter((it) => !it.includes(message.message))
      .map((it) => style.dim(`  | ${it}`));
    return [...last, ...lines];
  }

  /** True if the line of a message is not printed, or not yet. */
  #holds(message: Message): boolean {
    const note = (map: Map<string, string[]>, key: string, stage: string) =>
      map.set(key, [...map.get(key) ?? [], stage]).get(key)!.length;
    if (message.type === "failed" && !message.retry) {
      const { stage, message: text } = message;
      const error = text.replaceAll(`"${stage}"`, "");
      return note(this.#errors, error, stage) > 1;
    }
    const isSkipped = message.type === "finished" &&
      message.outcome === "skipped";
    if (isSkipped && message.note !== "interrupted") {
      note(this.#skipped, message.note ?? "", message.stage);
    }
    return isSkipped;
  }

  /** The lines that were held back. */
  held(): string[] {
    const errors = [...this.#errors.values()].map(([, ...others]) => others)
      .filter((others) => others.length > 0)
      .map((others) =>
        `Same error in ${count(others.length, "more stage")}: ${listed(others)}`
      );
    const skipped = [...this.#skipped].map(([why, stages]) => {
      const isOne = stages.length === 1;
      const what = isOne ? stages[0] : count(stages.length, "stage");
      const names = isOne ? "" : ` (${listed(stages)})`;
      return `${what}: ${style.yellow("skipped")} - ${why}${names}`;
    });
    this.#errors.clear();
    this.#skipped.clear();
    return [...errors.map(style.red), ...skipped];
  }
}

/** `a, b, c and 12 more` */
export function listed(names: readonly string[], most = MAX_NAMES): string {
  const more = names.length - most;
  return names.slice(0, most).join(", ") +
    (more > 0 ? ` and ${more} more` : "");
}

/** Minimum seconds saved by the cache that the summary mentions. */
const LEAST_SAVED = 1;

function summaryLine(summary: Summary): string {
  const { seconds, savedSeconds, ran, restored, unchanged } = summary;
  const { failed, interrupted, skipped } = summary;
  const saved = savedSeconds < LEAST_SAVED
    ? ""
    : `; the cache saved ${duration(savedSeconds)}`;
  const time = `in ${duration(seconds)}${saved}`;
  const parts = { ran, restored, unchanged, failed, interrupted, skipped };
  const sum = Object.values(parts).reduce((sum, it) => sum + it, 0);
  const stages = count(sum, "stage");
  if (unchanged === sum) {
    return style.green(`Nothing to do: ${stages} unchanged, ${time}`);
  }
  const counts = Object.entries(parts)
    .filter(([outcome, number]) => number > 0 || outcome === "ran")
    .map(([outcome, number]) => `${number} ${outcome}`);
  const doubt = interrupted + skipped > 0 ? style.yellow : style.green;
  const color = failed > 0 ? style.red : doubt;
  return color(`${stages}: ${counts.join(", ")}, ${time}`);
}

/** The verdicts, then where the results are and how to use them. */
function answerLines(answer: Answer): string[] {
  const { findings, adapters, reports, predict, python } = answer;
  const answers = findings.filter(({ isAside }) => !isAside);
  const asides = findings.filter(({ isAside }) => isAside);
  const isOne = answers.length === 1;
  const rows = [
    ["adapter", listed(adapters, 1)],
    ["predict", predict],
    ["try", answer.try],
    ...python.map((line, i) => [i === 0 ? "python" : "", line]),
    ...reports.map((path) => ["report", path]),
  ];
  return [
    ...answers.flatMap(({ title, headline, reasons, rank }) => [
      "",
      ...wrap(`${printable(title)}: ${printable(headline)}`, WIDTH)
        .map(style.bold),
      ...(isOne
        ? reasons.flatMap((it) => wrap(`  ${printable(it)}`, WIDTH))
        : rank === undefined
        ? []
        : [`  recommended rank: ${rank}`]),
    ]),
    ...asides.length > 0 && isOne && answers[0]!.rank !== undefined
      ? [`  The adapter has rank ${answers[0]!.rank}, by this report.`]
      : [],
    ...asides.flatMap(({ title, headline }) =>
      wrap(`  Also, ${printable(title)}: ${printable(headline)}`, WIDTH)
    ),
    ...answer.faults.flatMap((it) =>
      wrap(`  problem: ${printable(it)}`, WIDTH)
    ),
    "",
    ...rows.flatMap(([what, text]) =>
      text ? `${style.dim(what!.padEnd(7))}  ${printable(text)}` : []
    ),
  ];
}

/**
 * What the log of a stage says of an event; undefined for events that are not
 * shown.
 */
export function eventText(event: Event): string | undefined {
  switch (event.type) {
    case "log":
      return event.stream === "stack" ? undefined : printable(event.line);
    case "saved":
      return `checkpoint at ${printable(event.position)}`;
    case "interrupted":
      return "interrupted";
    case "progress":
      return progressText(event);
    case "metric":
      // Points of a curve are for pages and trackers; a training logs the step
      // in words.
      return event.step === undefined
        ? printable(`${event.name} = ${event.value}`)
        : undefined;
    case "queued":
      return jobText(event);
    case "started":
      return `attempt ${event.attempt}: ${event.reason}`;
    case "failed":
      return `failed: ${printable(event.message)}`;
    default:
      return undefined;
  }
}

/** The job of a stage in a batch system: `job 12_3 PENDING (Resources)`. */
export function jobText(
  { job, state, reason }: Message & { type: "queued" },
): string {
  const why = reason === undefined ? "" : ` (${reason})`;
  return printable(`job ${job} ${state}${why}`);
}

/** The progress of a stage: `128/8192 examples, loss 0.41`. */
export function progressText(
  { done, total, unit, note }: Message & { type: "progress" },
): string {
  const text = `${done}/${total} ${unit}`;
  return printable(note === undefined ? text : `${text}, ${note}`);
}

/** A duration: `0.04 s`, `12.3 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** An estimated duration: `45 s`, `12 min`, `2.1 h`, `3 days`. */
export function about(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return hours < 48
    ? `${hours.toFixed(1)} h`
    : `${Math.round(hours / 24)} days`;
}

/** An ISO time in the local time zone: `2026-01-31 14:05`. */
export function localTime(iso: string): string {
  const zone = Temporal.Now.timeZoneId();
  const time = Temporal.Instant.from(iso).toZonedDateTimeISO(zone);
  const text = time.toPlainDateTime().toString({ smallestUnit: "minute" });
  return text.replace("T", " ");
}

/** A size in decimal units: `512 B`, `4.2 GB`. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 999.5 && unit < units.length - 1) {
    count /= 1000;
    unit++;
  }
  const digits = unit === 0 || count >= 100 ? 0 : 1;
  return `${count.toFixed(digits)} ${units[unit]}`;
}

/** A number with its noun: `1 stage`, `2 stages`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Truncates a text to `width` characters, ending in `…`. */
export function clip(text: string, width: number): string {
  return text.length <= width
    ? text
    : `${text.slice(0, Math.max(0, width - 1))}…`;
}
