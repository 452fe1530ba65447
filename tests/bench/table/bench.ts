/**
 * `deno task bench table`: the table of steps in lib/engine/MEASUREMENTS.md,
 * made of the rows that `bench step` and `bench epoch` print, which are kept in
 * measured.jsonl.
 *
 *     deno task bench step --json > rows.jsonl
 *     deno task bench table rows.jsonl --machine A --commit COMMIT
 */
import { join } from "node:path";
import * as z from "zod";
import {
  type Arguments,
  EXIT,
  UsageError,
} from "../../../lib/cli/arguments/arguments.ts";
import { benchmark } from "../options.ts";

/** JSON as a value. */
const JsonText = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue({ code: "custom", message: "Expected JSON" });
    return z.NEVER;
  }
});

/** What the benchmarks print: seconds, or bytes of peak memory. */
const Row = z.strictObject({
  work: z.string(),
  precision: z.enum(["bf16", "f32"]),
  /** Absent where only the ratio was recorded. */
  ours: z.number().positive().optional(),
  peer: z.number().positive().optional(),
  /** Ours / peer. */
  ratio: z.number().positive(),
});
type Row = z.output<typeof Row>;

/** A row that is kept. */
const Measured = z.strictObject({
  /** Letter of the machine, as pipelines/results/README.md lists them. */
  machine: z.string(),
  commit: z.string(),
  ...Row.shape,
});
export type Measured = z.output<typeof Measured>;

const MEASURED = join(import.meta.dirname!, "measured.jsonl");
const DOCUMENT = join(
  import.meta.dirname!,
  "../../../lib/engine/MEASUREMENTS.md",
);
/** Line of the document before the table. */
const MARK = "<!-- Made by deno task bench table. -->";

/** `deno task bench table`. */
export const command = benchmark`
  table [ROWS]

  Write the table of steps in lib/engine/MEASUREMENTS.md from the rows that are kept. ROWS is a file with what bench step --json and bench epoch --json printed; its rows replace those of the same machine, work and precision.

  Options:
  --machine LETTER  Machine of ROWS, as pipelines/results/README.md names it
  --commit COMMIT  Commit of ROWS

  Examples:
  Write the table again
  rows.jsonl --machine A --commit 80af41c  Keep rows, then write it
`((args) => Promise.resolve(writeTable(args)));

function writeTable(args: Arguments): number {
  const [file] = args.positionals;
  let rows = readMeasured();
  if (file !== undefined) {
    const machine = args.value("machine");
    const commit = args.value("commit");
    if (machine === undefined || commit === undefined) {
      throw new UsageError("ROWS requires --machine and --commit");
    }
    const added = parseLines(file, Row)
      .map((row) => ({ machine, commit, ...row }));
    rows = withRows(rows, added);
    const lines = rows.map((row) => `${JSON.stringify(row)}\n`);
    Deno.writeTextFileSync(MEASURED, lines.join(""));
  }
  const document = Deno.readTextFileSync(DOCUMENT);
  Deno.writeTextFileSync(DOCUMENT, withTable(document, stepTable(rows)));
  return EXIT.success;
}

/** The rows that are kept. */
export function readMeasured(): readonly Measured[] {
  return parseLines(MEASURED, Measured);
}

/** @throws {UsageError} If a line is no such row */
function parseLines<T>(path: string, schema: z.ZodType<T>): readonly T[] {
  return Deno.readTextFileSync(path).trim().split("\n").map((line, i) => {
    const { data, error } = JsonText.pipe(schema).safeParse(line);
    if (error === undefined) return data;
    throw new UsageError(`${path}:${i + 1}: ${z.prettifyError(error)}`);
  });
}

/**
 * Rows with others added, each in place of that of its machine, work and
 * precision.
 */
export function withRows(
  rows: readonly Measured[],
  added: readonly Measured[],
): readonly Measured[] {
  const keyOf = ({ machine, work, precision }: Measured) =>
    JSON.stringify([machine, work, precision]);
  const byKey = new Map(rows.map((row) => [keyOf(row), row]));
  for (const row of added) byKey.set(keyOf(row), row);
  return [...byKey.values()];
}

/**
 * Markdown table of all work by machine, with the columns padded as `deno fmt`
 * pads them.
 */
export function stepTable(rows: readonly Measured[]): string {
  const machines = [...new Set(rows.map(({ machine }) => machine))].sort();
  const works = Map.groupBy(
    rows,
    ({ work, precision }) => `${work} | ${precision}`,
  );
  const lines = [
    `work | precision | ${machines.join(" | ")}`.split(" | "),
    ...[...works].sort(byWork).map(([name, measured]) => [
      ...name.split(" | "),
      ...machines.map((machine) => {
        const row = measured.find((it) => it.machine === machine);
        return row === undefined ? "" : cellOf(row);
      }),
    ]),
  ];
  const widths = lines[0]!.map((_, column) =>
    Math.max(...lines.map((cells) => cells[column]!.length))
  );
  const padded = lines.map((cells) =>
    cells.map((cell, column) => cell.padEnd(widths[column]!))
  );
  const rule = widths.map((width) => "-".repeat(width));
  return [padded[0]!, rule, ...padded.slice(1)]
    .map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Sorts steps before evaluations, epochs and memory, then by name. */
function byWork([a]: [string, unknown], [b]: [string, unknown]): number {
  const kinds = ["8 ranks evaluated", "epoch", "peak memory"];
  const kindOf = (name: string) =>
    kinds.findIndex((kind) => name.includes(kind));
  return kindOf(a) - kindOf(b) ||
    a.localeCompare(b, "en", { numeric: true });
}

/** `0.60 (0.452, 0.751)`: the ratio, and seconds or MiB of both sides. */
function cellOf({ work, ours, peer, ratio }: Row): string {
  const text = ratio.toFixed(2);
  if (ours === undefined || peer === undefined) return text;
  const figure = (value: number) =>
    work.endsWith("peak memory")
      ? Math.round(value / 2 ** 20).toLocaleString("en")
      : String(Number(value.toPrecision(3)));
  return `${text} (${figure(ours)}, ${figure(peer)})`;
}

/**
 * A document with its table replaced.
 *
 * @throws {Error} If the mark, or the table behind it, is missing.
 */
export function withTable(document: string, table: string): string {
  const pattern = new RegExp(`${MARK}\n\n(?:\\|.*\n)+`);
  if (!pattern.test(document)) throw new Error(`No table behind "${MARK}"`);
  return document.replace(pattern, () => `${MARK}\n\n${table}\n`);
}

/** The document as it is, and as the rows make it. */
export function documents(): { readonly is: string; readonly made: string } {
  const is = Deno.readTextFileSync(DOCUMENT);
  return { is, made: withTable(is, stepTable(readMeasured())) };
}
