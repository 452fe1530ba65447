import { methodOf } from "./methods.ts";
import type { Epoch, Variant } from "./result.ts";

/** A column of a table whose rows are of one kind. */
export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
}

/** A table in Markdown: the rows by their titles, then the columns. */
export function table<Row>(
  corner: string,
  rows: readonly Row[],
  rowTitle: (row: Row) => string,
  columns: readonly Column<Row>[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const header = [corner, ...columns.map(({ title }) => title)];
  return [
    line(header),
    line(header.map(() => "---")),
    ...rows.map((row) =>
      line([rowTitle(row), ...columns.map(({ cell }) => cell(row))])
    ),
  ].join("\n");
}

/** Text that Markdown takes as it is, whatever letters it holds. */
export function plain(text: string): string {
  return text.replace(/[\\`*_~&[\]<>|]/g, "\\$&").replace(/\s+/g, " ");
}

/** Name of the file that a comparison's figure is kept in: `mrpc-validation.svg`. */
export function figureName({ task, split, epoch }: {
  readonly task: string;
  readonly split: string;
  readonly epoch: Epoch;
}): string {
  const safe = (text: string) => text.replace(/[^A-Za-z0-9_.-]+/g, "-");
  const suffix = epoch === "last" ? "" : `-${epoch}-epoch`;
  return `${safe(task)}-${safe(split)}${suffix}.svg`;
}

/** `DyLoRA (mode=frozen)`. */
export function methodTitle(
  { method, variant }: { readonly method: string; readonly variant: Variant },
): string {
  const { title } = methodOf(method);
  const text = variantText(variant);
  return text === "" ? title : `${title} (${text})`;
}

/** `mode=frozen, sampler=uniform`; nothing if no dimension of its own tells a method from others. */
export function variantText(variant: Variant): string {
  return Object.entries(variant).map(([key, value]) => `${key}=${value}`)
    .join(", ");
}

/** A method's title as Markdown. */
export function titleOf(method: Parameters<typeof methodTitle>[0]): string {
  return plain(methodTitle(method));
}

/** `ranks 1 to 8`, `ranks 1, 4, 8`, `rank 4`, `no adapter`. */
export function rankList(ranks: readonly number[]): string {
  const [first] = ranks;
  if (ranks.length === 1) return first === 0 ? "no adapter" : `rank ${first}`;
  const consecutive = ranks.length > 2 &&
    ranks.every((rank, i) => rank === first! + i);
  return consecutive
    ? `ranks ${first} to ${ranks.at(-1)}`
    : `ranks ${ranks.join(", ")}`;
}

/** A share times 100: `84.2`; `undefined` where there is none. */
export function percent(share: number | null, digits = 1): string {
  return share === null ? "undefined" : (100 * share).toFixed(digits);
}

/** A parameter times 100, with all its digits: `97.5`. */
export function exactPercent(share: number): string {
  return String(Number((100 * share).toPrecision(12)));
}

/** `+1.2`: a share times 100 with its sign. */
export function signed(share: number | null): string {
  const text = percent(share);
  return share !== null && share > 0 ? `+${text}` : text;
}

/** ` [79.5, 84.3]`; nothing where there is no interval. */
export function intervalText(
  interval: readonly [number, number] | null,
  text: (value: number) => string = percent,
): string {
  return interval === null
    ? ""
    : ` [${interval.map((end) => text(end)).join(", ")}]`;
}

/** Three significant digits, without an exponent. */
export function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
