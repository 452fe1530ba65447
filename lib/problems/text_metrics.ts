/**
 * Metrics of texts that a model writes. Each has sufficient statistics of a
 * unit (a text with its references), which are summed for any draw of units,
 * so that a bootstrap computes no text twice. But for NIST, they are hundredths
 * of the figures that the programs named here print.
 */
import { metricNamed, type Scorer, summedScorer } from "./problem.ts";

/** A text that a model wrote, and those that people wrote of the same input. */
export interface WrittenText {
  readonly text: string;
  /** One or more. */
  readonly references: readonly string[];
}

/** A metric of texts by statistics that are summed. */
interface TextMetric {
  /** Number of statistics of a unit. */
  readonly width: number;
  /**
   * Makes a function that gives the statistics of a unit; it may look at the
   * references of all.
   */
  statistics(all: readonly WrittenText[]): (unit: WrittenText) => number[];
  /** @param sums Statistics, summed over units */
  score(sums: readonly number[]): number;
}

/** Lengths of the n-grams of BLEU. */
const BLEU_ORDERS = [1, 2, 3, 4] as const;

/** Lengths of the n-grams of NIST. */
const NIST_ORDERS = [1, 2, 3, 4, 5] as const;

/**
 * BLEU (Papineni and others, 2002) of sacrebleu with its defaults: tokenizer
 * 13a, case kept, exponential smoothing.
 */
const bleu: TextMetric = {
  width: 2 + 2 * BLEU_ORDERS.length,
  statistics: () => ({ text, references }) => {
    const tokens = tokens13a(text);
    const ofReferences = references.map(tokens13a);
    const lengths = ofReferences.map(({ length }) => length)
      .sort((a, b) => a - b);
    const distance = (length: number) => Math.abs(length - tokens.length);
    const closest = lengths.reduce((a, b) => distance(b) < distance(a) ? b : a);
    return [
      tokens.length,
      closest,
      ...BLEU_ORDERS.map((n) =>
        sum([...matches(n, tokens, ofReferences).values()])
      ),
      ...BLEU_ORDERS.map((n) => Math.max(0, tokens.length - n + 1)),
    ];
  },
  score([length, reference, ...counts]) {
    const matched = counts.slice(0, BLEU_ORDERS.length);
    const totals = counts.slice(BLEU_ORDERS.length);
    if (sum(matched) === 0) return 0;
    let smoothing = 1;
    const logs = matched.map((count, i) => {
      if (count === 0) smoothing *= 2;
      return Math.log((count || 1 / smoothing) / totals[i]!);
    });
    // Texts too short for an n-gram of some length have no precision there.
    if (totals.includes(0)) return 0;
    const brevity = Math.min(0, 1 - reference! / length!);
    return Math.exp(brevity + sum(logs) / BLEU_ORDERS.length);
  },
};

/**
 * The mean over texts of rouge-score's `rougeL` F-measure without a stemmer,
 * that of the best reference.
 */
const rougeL: TextMetric = {
  width: 2,
  statistics: () => ({ text, references }) => {
    const wordsOf = (it: string) =>
      it.toLowerCase().match(/[a-z0-9]+/g) ?? [] as string[];
    const textWords = wordsOf(text);
    const shares = references.map((it) => {
      const others = wordsOf(it);
      const common = commonLength(textWords, others);
      return common === 0 ? 0 : 2 * common / (textWords.length + others.length);
    });
    return [Math.max(...shares), 1];
  },
  score: ([shares, units]) => shares! / units!,
};

/**
 * NIST (Doddington, 2002) of the script of the E2E challenge: tokens as in
 * BLEU in lower case, n-grams up to five words, counted at most as often as in
 * one reference, and the mean length of the references. An n-gram's
 * information is that in the references of all units: of a draw of units too,
 * for it describes the data rather than the texts that are scored.
 */
const nist: TextMetric = {
  width: 2 + 2 * NIST_ORDERS.length,
  statistics(all) {
    const tokensOf = (text: string) => {
      const tokens = tokens13a(text.toLowerCase());
      // The script has one empty word of an empty text.
      return tokens.length === 0 ? [""] : tokens;
    };
    const texts = all.flatMap((it) => it.references).map(tokensOf);
    const total = sum(texts.map(({ length }) => length));
    const counts = new Map<string, number>();
    for (const tokens of texts) {
      for (const n of NIST_ORDERS) {
        for (const [gram, count] of gramsOf(n, tokens)) {
          counts.set(gram, (counts.get(gram) ?? 0) + count);
        }
      }
    }
    const information = (gram: string) => {
      const end = gram.lastIndexOf(SEPARATOR);
      const before = end < 0 ? total : counts.get(gram.slice(0, end))!;
      return Math.log2(before / counts.get(gram)!);
    };
    return ({ text, references }) => {
      const tokens = tokensOf(text);
      const ofReferences = references.map(tokensOf);
      return [
        tokens.length,
        sum(ofReferences.map(({ length }) => length)) / ofReferences.length,
        ...NIST_ORDERS.map((n) =>
          sum(
            [...matches(n, tokens, ofReferences)]
              .map(([gram, count]) => count * information(gram)),
          )
        ),
        // As the script does, below zero for texts shorter than the n-gram.
        ...NIST_ORDERS.map((n) => tokens.length - n + 1),
      ];
    };
  },
  score([length, reference, ...counts]) {
    const gained = counts.slice(0, NIST_ORDERS.length).map((information, i) =>
      information === 0 ? 0 : information / counts[NIST_ORDERS.length + i]!
    );
    const ratio = Math.min(1, length! / reference!);
    const penalty = Math.log(ratio) ** 2 * Math.log(0.5) / Math.log(1.5) ** 2;
    return sum(gained) * Math.exp(penalty);
  },
};

/** Metrics of texts by name, the main one first. */
export const TEXT_METRICS: Readonly<Record<string, TextMetric>> = {
  bleu,
  rouge_l: rougeL,
  nist,
};

const METRICS = Object.entries(TEXT_METRICS);

/** Number of statistics of a text for all metrics together. */
export const STATISTICS = sum(METRICS.map(([, { width }]) => width));

/**
 * The statistics by which texts are scored.
 *
 * @returns `[units, STATISTICS]`, flat
 */
export function textStatistics(
  units: readonly WrittenText[],
): Float64Array<ArrayBuffer> {
  const each = METRICS.map(([, metric]) => metric.statistics(units));
  return Float64Array.from(
    units.flatMap((unit) => each.flatMap((statistics) => statistics(unit))),
  );
}

/**
 * Scores texts by a metric.
 *
 * @param count Number of units
 * @returns What scores statistics, `[units, STATISTICS]`, of any draw of units
 * @throws {TypeError} If there is no metric of this name
 */
export function textScorer(name: string, count: number): Scorer {
  const { width, score } = metricNamed(TEXT_METRICS, name);
  const position = METRICS.findIndex(([other]) => other === name);
  const start = sum(METRICS.slice(0, position).map(([, it]) => it.width));
  return summedScorer(
    { units: count, width: STATISTICS },
    (statistics) => statistics,
    (sums) => score(sums.slice(start, start + width)),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Words between what Python takes for white space. */
function words(text: string): string[] {
  // deno-lint-ignore no-control-regex
  return text.split(/[\p{White_Space}\x1c-\x1f]+/u).filter((it) => it !== "");
}

/** Tokens of mteval-v13a, as sacrebleu and the script of E2E have them. */
function tokens13a(text: string): string[] {
  const plain = text.trimEnd().replaceAll("<skipped>", "")
    .replaceAll("-\n", "").replaceAll("\n", " ").replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&").replaceAll("&lt;", "<").replaceAll("&gt;", ">");
  return words(
    ` ${plain} `
      .replace(/([{-~[-` -&(-+:-@/])/gu, " $1 ")
      .replace(/([^0-9])([.,])/gu, "$1 $2 ")
      .replace(/([.,])([^0-9])/gu, " $1 $2")
      .replace(/([0-9])(-)/gu, "$1 $2 "),
  );
}

/** Between the words of an n-gram. */
const SEPARATOR = "\n";

/** How often each n-gram occurs. */
function gramsOf(n: number, tokens: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = n; i <= tokens.length; i++) {
    const gram = tokens.slice(i - n, i).join(SEPARATOR);
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

/**
 * How often each n-gram that a reference has occurs, at most as often as in the
 * reference that has it most.
 */
function matches(
  n: number,
  tokens: readonly string[],
  references: readonly (readonly string[])[],
): Map<string, number> {
  const ofReferences = references.map((it) => gramsOf(n, it));
  return new Map(
    [...gramsOf(n, tokens)].map(([gram, count]) => {
      const most = Math.max(...ofReferences.map((it) => it.get(gram) ?? 0));
      return [gram, Math.min(count, most)] as const;
    }).filter(([, count]) => count > 0),
  );
}

/** Length of the longest common subsequence. */
function commonLength(a: readonly string[], b: readonly string[]): number {
  const row = new Uint32Array(b.length + 1);
  for (const word of a) {
    let diagonal = 0;
    for (let j = 1; j <= b.length; j++) {
      const above = row[j]!;
      row[j] = word === b[j - 1] ? diagonal + 1 : Math.max(above, row[j - 1]!);
      diagonal = above;
    }
  }
  return row[b.length]!;
}
