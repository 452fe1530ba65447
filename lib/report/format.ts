import { methodTitle, type NamedMethod, ranksOf } from "./methods.ts";
import type { Axis, Interval } from "./report.ts";

/**
 * Markdown table; the first cell of each row is its title.
 *
 * @param texts Titles of columns of texts, which are aligned left
 */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  texts: readonly string[] = [],
): string {
  const rules = header.map((title) => texts.includes(title) ? ":---" : "---");
  return [header, rules, ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Column of a table by rank. */
export interface RankColumn<T> {
  readonly title: string;
  readonly ranks: readonly (T & { readonly rank: number })[];
  /** Values over all ranks. */
  readonly areas?: Readonly<Record<Axis, T>> | null | undefined;
}

/**
 * Table with one row per rank, and last those of areas if a column has them;
 * between two ranks, both are the mean.
 */
export function rankTable<T>(
  columns: readonly RankColumn<T>[],
  text: (value: T) => string,
  missing: string,
): string {
  const row = (
    title: string,
    valueOf: (column: RankColumn<T>) => T | null | undefined,
  ) => {
    const values = columns.map(valueOf);
    return [title, ...values.map((it) => it ? text(it) : missing)];
  };
  return table(["Rank", ...columns.map(({ title }) => title)], [
    ...ranksOf(columns).map((rank) =>
      row(String(rank), ({ ranks }) => ranks.find((it) => it.rank === rank))
    ),
    ...(columns.some(({ areas }) => areas)
      ? [
        row("area under the curve", ({ areas }) => areas?.linear),
        ...(columns.some(({ areas, ranks }) => areas && ranks.length > 2)
          ? [row("area over log2 of the rank", ({ areas }) => areas?.log2)]
          : []),
      ]
      : []),
  ]);
}

/** Escapes text so that Markdown shows it literally. */
export function plain(text: string): string {
  return text.replace(/[\\`*_~&[\]<>|]/g, "\\$&").replace(/\s+/g, " ");
}

/** A method's title as Markdown. */
export function titleOf(method: NamedMethod): string {
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

/** Names of metrics in sentences, where they differ from those in files. */
const METRIC_NAMES: Readonly<Record<string, string>> = {
  f1: "F1",
  f1_macro: "macro F1",
  micro_f1: "micro F1",
  macro_f1: "macro F1",
  weighted_f1: "weighted F1",
  subset_accuracy: "subset accuracy",
  hamming_loss: "Hamming loss",
  lrap: "label ranking average precision",
  matthews: "Matthews correlation",
  pearson: "Pearson correlation",
  spearman: "Spearman correlation",
  entity_f1: "entity F1",
  entity_precision: "entity precision",
  entity_recall: "entity recall",
  entity_f1_strict: "strict entity F1",
  word_accuracy: "word accuracy",
  word_f1_macro: "word macro F1",
  spearman_cosine: "Spearman correlation of the cosine",
  pearson_cosine: "Pearson correlation of the cosine",
  "mrr@10": "MRR@10",
  "ndcg@10": "nDCG@10",
  "map@100": "MAP@100",
  bleu: "BLEU",
  rouge_l: "ROUGE-L",
  nist: "NIST",
};

/** Metrics that are no shares of something. */
const NO_SHARES = ["loss", "perplexity", "nist"];

/** Whether a metric is a share, which is shown times 100. */
export function isShare(metric: string): boolean {
  return !NO_SHARES.includes(metric);
}

/** A metric in a sentence: `accuracy`, `Pearson correlation`. */
export function metricInWords(metric: string): string {
  return METRIC_NAMES[metric] ?? metric;
}

/**
 * A metric as a heading, with its unit: `accuracy, %`; F1 with the class that
 * it is of.
 */
export function metricTitle(
  metric: string,
  { mistakes }: {
    readonly mistakes?: {
      readonly classes: readonly { readonly name: string }[] | null;
    };
  },
): string {
  const positive = metric === "f1" ? mistakes?.classes?.[1] : undefined;
  const of = positive === undefined ? "" : ` of "${positive.name}"`;
  const unit = isShare(metric) ? ", %" : "";
  return `${metricInWords(metric)}${of}${unit}`;
}

/** A text with its first letter in upper case, but for names such as nDCG. */
export function capitalized(text: string): string {
  if (/^[a-z][A-Z]/.test(text)) return text;
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/**
 * How values of a metric are shown: shares times 100 with one decimal, others
 * with three.
 */
export function formatOf(metric: string) {
  const isPercent = isShare(metric);
  const factor = isPercent ? 100 : 1;
  const digits = isPercent ? 1 : 3;
  const unit = isPercent ? "point" : undefined;
  const value = (of: number | null) => {
    if (of === null) return "undefined";
    const text = (factor * of).toFixed(digits);
    return Number(text) === 0 ? text.replace("-", "") : text;
  };
  return {
    factor,
    digits,
    /** `84.2`; `undefined` for null. */
    value,
    /**
     * A difference with its sign: `+1.2`, `-0.3`; `0.0` if it rounds to zero.
     */
    signed: (of: number | null) =>
      Number(value(of)) > 0 ? `+${value(of)}` : value(of),
    /** In a sentence, with its unit: `84.2 %`. */
    inWords: (of: number | null) =>
      of !== null && unit ? `${value(of)} %` : value(of),
    /** A parameter with all its digits: `97.5`. */
    exact: (of: number) => String(Number((factor * of).toPrecision(12))),
    /** `1 point`, `2.3 points`, `0.012` */
    amount(of: number, text: (of: number) => string = value) {
      const number = text(of);
      return unit ? `${number} ${unit}${number === "1" ? "" : "s"}` : number;
    },
  };
}

/** Shares times 100, with one decimal and with all digits. */
export const { value: percent, exact: exactPercent } = formatOf("accuracy");

/** A score and its interval, if it has one: `82.1 [79.5, 84.3]`. */
export function withInterval(
  share: number | null,
  interval: Interval | null,
  text: (share: number | null) => string = percent,
): string {
  return text(share) + intervalText(interval, text);
}

/** An interval after a score: ` [79.5, 84.3]`; empty for null. */
export function intervalText(
  interval: Interval | null,
  text: (share: number | null) => string,
): string {
  return interval === null
    ? ""
    : ` [${interval.map((end) => text(end)).join(", ")}]`;
}

/** Three significant digits without an exponent. */
export function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** Escapes text for HTML, where it may also stand in an attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

/** HTML that scrolls to the side where it is too wide. */
export function scrolled(label: string, html: string): string {
  return `<div class="scroll" tabindex="0" role="group" aria-label="${label}">${html}</div>`;
}

/** A table on a page, whose script adds a button that saves it. */
export function tableHtml(label: string, table: string): string {
  return `<div class="table">${scrolled(label, table)}</div>`;
}

/** HTML that is folded below its title. */
export function folded(title: string, html: string): string {
  return `<details><summary>${title}</summary>\n${html}</details>\n`;
}
