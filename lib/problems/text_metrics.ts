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
  /** Makes a function that gives the statistics of a unit; it may look at the references of all. */
  statistics(all: readonly WrittenText[]): (unit: WrittenText) => number[];
  /** @param sums Statistics, summed over units */
  score(sums: readonly number[]): number;
}

/**
 * Translation edit rate (Snover and others, 2006) of sacrebleu with its
 * defaults: the least edits, shifts of words among them, to any reference, by
 * their mean length; lower is better.
 */
const ter: TextMetric = {
  width: 2,
  statistics: () => ({ text, references }) => {
    const [own, ...theirs] = [text, ...references]
      .map((it) => words(it.toLowerCase()));
    const edits = theirs.map((it) => editsTo(it, own!));
    const lengths = theirs.map(({ length }) => length);
    return [Math.min(...edits), sum(lengths) / lengths.length];
  },
  score: ([edits, length]) =>
    length! > 0 ? edits! / length! : edits! > 0 ? 1 : 0,
};

/** Lengths of the n-grams of BLEU and of NIST. */
const [BLEU_ORDERS, NIST_ORDERS] = [[1, 2, 3, 4], [1, 2, 3, 4, 5]] as const;

/**
 * BLEU (Papineni and others, 2002) of sacrebleu with its defaults: tokenizer
 * 13a, case kept, exponential smoothing.
 */
const bleu: TextMetric = {
  width: 2 + 2 * BLEU_ORDERS.length,
  statistics: () => ({ text, references }) => {
    const own = tokens13a(text);
    const theirs = references.map(tokens13a);
    const lengths = theirs.map(({ length }) => length).sort((a, b) => a - b);
    const distance = (length: number) => Math.abs(length - own.length);
    const closest = lengths.reduce((a, b) => distance(b) < distance(a) ? b : a);
    return [
      own.length,
      closest,
      ...BLEU_ORDERS.map((n) => sum([...matches(n, own, theirs).values()])),
      ...BLEU_ORDERS.map((n) => Math.max(0, own.length - n + 1)),
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

/** The mean over texts of rouge-score's `rougeL` F-measure without a stemmer, that of the best reference. */
const rougeL: TextMetric = {
  width: 2,
  statistics: () => ({ text, references }) => {
    const wordsOf = (it: string) =>
      it.toLowerCase().match(/[a-z0-9]+/g) ?? [] as string[];
    const own = wordsOf(text);
    const shares = references.map((it) => {
      const theirs = wordsOf(it);
      const common = commonLength(own, theirs);
      return common === 0 ? 0 : 2 * common / (own.length + theirs.length);
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
      const own = tokensOf(text);
      const theirs = references.map(tokensOf);
      return [
        own.length,
        sum(theirs.map(({ length }) => length)) / theirs.length,
        ...NIST_ORDERS.map((n) =>
          sum(
            [...matches(n, own, theirs)]
              .map(([gram, count]) => count * information(gram)),
          )
        ),
        // As the script does, below zero for texts shorter than the n-gram.
        ...NIST_ORDERS.map((n) => own.length - n + 1),
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
  ter,
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

/** How often each n-gram that a reference has occurs, at most as often as in the reference that has it most. */
function matches(
  n: number,
  own: readonly string[],
  references: readonly (readonly string[])[],
): Map<string, number> {
  const known = references.map((it) => gramsOf(n, it));
  return new Map(
    [...gramsOf(n, own)].map(([gram, count]) => {
      const most = Math.max(...known.map((it) => it.get(gram) ?? 0));
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

/** Limits of sacrebleu's search for shifts: words of a shift, distance in words, shifts tried for a text, words on either side of the diagonal. */
const MAX_SHIFT = { words: 10, distance: 50, tried: 1000, beam: 25 } as const;

/** Least edits and shifts from a text to a reference that sacrebleu's greedy search finds. */
function editsTo(reference: readonly string[], text: readonly string[]) {
  if (reference.length === 0) return text.length;
  let words = text;
  let tried = 0;
  for (let shifts = 0;; shifts++) {
    const { edits, places, isWrong, isMissed } = align(words, reference);
    let best = { gain: -Infinity, length: 0, words: [] as string[] };
    for (const [start, at, length] of commonRuns(words, reference)) {
      const place = places[at]!;
      if (
        !isWrong.subarray(start, start + length).includes(1) ||
        !isMissed.subarray(at, at + length).includes(1) ||
        start <= place && place < start + length
      ) continue;
      let last = -1;
      for (let i = at - 1; i < Math.min(at + length, reference.length); i++) {
        const target = i < 0 ? 0 : places[i]! + 1;
        if (target === last) continue;
        last = target;
        tried++;
        const shifted = shift(words, start, length, target);
        const gain = edits - align(shifted, reference).edits;
        // Of equal ones, the longest, and then the first.
        if (
          gain > best.gain || gain === best.gain && length > best.length
        ) best = { gain, length, words: shifted };
      }
      if (tried >= MAX_SHIFT.tried) break;
    }
    if (tried >= MAX_SHIFT.tried || best.gain <= 0) return shifts + edits;
    words = best.words;
  }
}

/** Runs of words that a text and a reference have in common, with where they start in each. */
function* commonRuns(
  text: readonly string[],
  reference: readonly string[],
): Generator<[start: number, at: number, length: number]> {
  for (let start = 0; start < text.length; start++) {
    for (let at = 0; at < reference.length; at++) {
      if (Math.abs(at - start) > MAX_SHIFT.distance) continue;
      const most = Math.min(
        MAX_SHIFT.words,
        text.length - start,
        reference.length - at,
      );
      for (let i = 0; i < most && text[start + i] === reference[at + i]; i++) {
        yield [start, at, i + 1];
      }
    }
  }
}

/** Moves some words to before the word at a target. */
function shift(
  words: readonly string[],
  start: number,
  length: number,
  target: number,
): string[] {
  const moved = words.slice(start, start + length);
  const others = words.toSpliced(start, length);
  // A target after the words counts them, one within them counts from their start.
  const to = target > start + length ? target - length : target;
  return others.toSpliced(to, 0, ...moved);
}

/** Cost of what is not computed. */
const FAR = 2 ** 30;

/** Operations of an edit distance. */
const [KEEP, CHANGE, REMOVE, INSERT] = [0, 1, 2, 3];

/**
 * Aligns a text with a reference by their edit distance, near the diagonal.
 *
 * @returns Place in the text of each word of the reference, -1 before the first; and the words of each that the other has not there
 */
function align(text: readonly string[], reference: readonly string[]) {
  const width = reference.length + 1;
  const costs = new Int32Array(width * (text.length + 1)).fill(FAR);
  const operations = new Uint8Array(costs.length);
  for (let j = 0; j < width; j++) {
    costs[j] = j;
    operations[j] = INSERT;
  }
  const ratio = text.length === 0 ? 1 : reference.length / text.length;
  const beam = MAX_SHIFT.beam < ratio / 2
    ? Math.ceil(ratio / 2 + MAX_SHIFT.beam)
    : MAX_SHIFT.beam;
  for (let i = 1; i <= text.length; i++) {
    const diagonal = Math.floor(i * ratio);
    const end = i === text.length ? width : Math.min(width, diagonal + beam);
    for (let j = Math.max(0, diagonal - beam); j < end; j++) {
      const at = i * width + j;
      const isSame = text[i - 1] === reference[j - 1];
      // Of equal costs, the first in this order.
      const changed = j === 0 ? FAR : costs[at - width - 1]! + (isSame ? 0 : 1);
      const removed = costs[at - width]! + 1;
      const inserted = j === 0 ? FAR : costs[at - 1]! + 1;
      const least = Math.min(changed, removed, inserted);
      costs[at] = least;
      operations[at] = changed === least
        ? isSame ? KEEP : CHANGE
        : removed === least
        ? REMOVE
        : INSERT;
    }
  }
  const places = new Int32Array(reference.length);
  const isWrong = new Uint8Array(text.length);
  const isMissed = new Uint8Array(reference.length);
  for (let [i, j] = [text.length, reference.length]; i > 0 || j > 0;) {
    const operation = operations[i * width + j]!;
    if (operation !== REMOVE) {
      j--;
      places[j] = i - 1;
      isMissed[j] = operation === KEEP ? 0 : 1;
    }
    if (operation !== INSERT) {
      i--;
      isWrong[i] = operation === KEEP ? 0 : 1;
    }
  }
  return { edits: costs.at(-1)!, places, isWrong, isMissed };
}
