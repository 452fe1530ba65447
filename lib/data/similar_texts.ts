/**
 * Finds in a user's table the texts that belong together, of which embeddings
 * are learnt.
 */
import {
  byName,
  type Column,
  columnWith,
  estimateTokens,
  find,
  isGrouping,
  isId,
  LABELS,
  likelyLabel,
  PAIRS,
} from "./inspect_table.ts";
import { columnsOf, readTable } from "./table.ts";
import { quote } from "./text_file.ts";

/** A table whose rows have texts that belong together. */
export interface SimilarTexts {
  readonly rows: number;
  readonly columns: readonly string[];
  readonly text: Column;
  /** Of texts that are near it, as an answer is near its question. */
  readonly positive: Column;
  /** Of texts that are not near it though they may seem so. */
  readonly negatives: readonly Column[];
  /** Of numbers that say how near the two texts are; undefined if they are. */
  readonly score: Column | undefined;
  /**
   * A column that may be of labels or scores, which is not read; undefined if
   * there is none, or it is the score.
   */
  readonly unread: Column | undefined;
  /**
   * True if neither the user nor the names of columns say that they are near.
   */
  readonly isGuessed: boolean;
  /** Estimated tokens of a text, as of other tables. */
  readonly tokens: number;
}

/** Columns that the user names, and the encoding of a text file. */
interface NamedColumns {
  readonly text: string | undefined;
  readonly pair: string | undefined;
  readonly label: string | undefined;
  readonly positive: string | undefined;
  readonly encoding: string | undefined;
}

/** Usual names of columns, in lower case. */
const ANCHORS = ["anchor", "query", "question", "text", "sentence"];
const POSITIVES = ["positive", "pos"];
const NEGATIVE = /^(hard_)?neg(ative)?s?(_?\d+)?$/i;

/**
 * The columns of texts that belong together: those that the user names, those
 * called anchor and positive, or the only two columns of texts of a table
 * without labels.
 *
 * @returns Undefined if the table has none, or if the user names other columns.
 * @throws {SyntaxError} If the table cannot be read.
 * @throws {RangeError} If a named column does not exist or is none of texts, or
 * if the table may as well have labels of pairs.
 */
export async function findSimilarTexts(
  path: string,
  { text, pair, label, positive, encoding }: NamedColumns,
): Promise<SimilarTexts | undefined> {
  const isNamed = positive !== undefined;
  if (!isNamed && (pair ?? label) !== undefined) return undefined;
  const header = await columnsOf(path, encoding);
  const names = new Set(header.map((it) => it.toLowerCase()));
  const mayBe = POSITIVES.some((it) => names.has(it)) ||
    !LABELS.some((it) => names.has(it));
  const isTwice = new Set(header).size < header.length;
  if (!isNamed && (isTwice || !mayBe)) return undefined;
  const rows = await readTable(path, [], header, { encoding, numbers: header });
  const columns = header.map((name, i) =>
    columnWith(name, rows.map(({ values }) => values[i]))
  );
  const texts = columns.filter((it) => it.hasTexts && !isId(it));
  const named = { text, positive };
  const chosen = isNamed
    ? namedTexts(columns, texts, { ...named, positive }, path)
    : guessedTexts(columns, texts, text);
  if (chosen === undefined) return undefined;
  const labels = columns.find(({ name }) =>
    LABELS.includes(name.toLowerCase())
  );
  if (!isNamed && labels !== undefined) {
    const { text, positive } = chosen;
    const words = [text, positive, labels].map(({ name }) => quote(name));
    const [first, second, third] = words;
    throw new RangeError(
      `"${path}" has texts that belong together, ${first} and ${second}, and a column ${third}; say which it is by options:
  --text ${first} --positive ${second} --label ${third}  embeddings whose cosines have the order of these numbers
  --text ${first} --positive ${second}  embeddings, where the two texts of each row belong together
  --text ${first} --pair ${second} --label ${third}  the label of each pair is predicted`,
    );
  }
  const score = label === undefined ? undefined : find(columns, label, path);
  const { negatives } = chosen;
  if (score !== undefined && negatives.length > 0) {
    const [{ name }] = negatives as [Column];
    throw new RangeError(
      `"${path}" has a column of negatives, ${
        quote(name)
      }, which have no score: leave out --label, or remove the column`,
    );
  }
  const all = [chosen.text, chosen.positive, ...negatives];
  return {
    rows: rows.length,
    columns: header,
    ...chosen,
    score,
    unread: score === undefined ? labels : undefined,
    tokens: estimateTokens(all.flatMap(({ values }) => values)),
  };
}

/** Columns of texts that belong together. */
type Chosen = Pick<
  SimilarTexts,
  "text" | "positive" | "negatives" | "isGuessed"
>;

/** The columns that the user names, or the rest of them by their names. */
function namedTexts(
  columns: readonly Column[],
  texts: readonly Column[],
  named: { readonly text: string | undefined; readonly positive: string },
  path: string,
): Chosen {
  const positive = find(columns, named.positive, path);
  const others = texts.filter((it) => it !== positive && !isNegative(it));
  const text = named.text === undefined
    ? byName(others, ANCHORS) ?? others[0]
    : find(columns, named.text, path);
  if (text === undefined || text === positive) {
    throw new RangeError(
      `No column of "${path}" besides ${
        quote(positive.name)
      } is named for the texts that it is near: name it with --text`,
    );
  }
  const negatives = texts.filter(isNegative);
  return { text, positive, negatives, isGuessed: false };
}

/** The columns called so, or the only two of a table without labels. */
function guessedTexts(
  columns: readonly Column[],
  texts: readonly Column[],
  named: string | undefined,
): Chosen | undefined {
  const positive = byName(texts.filter((it) => !isGrouping(it)), POSITIVES);
  const others = texts.filter((it) => it !== positive && !isNegative(it));
  if (positive !== undefined) {
    const text = named === undefined
      ? byName(others, ANCHORS)
      : others.find(({ name }) => name === named);
    const negatives = texts.filter(isNegative);
    return text && { text, positive, negatives, isGuessed: false };
  }
  const areTexts = columns.every((it) => texts.includes(it) || isId(it));
  const [first, second] = texts;
  if (second === undefined || texts.length > 2 || !areTexts) return undefined;
  if (named !== undefined || likelyLabel(columns) !== undefined) {
    return undefined;
  }
  const isReversed = PAIRS.some(([query, answer]) =>
    second.name.toLowerCase() === query && first!.name.toLowerCase() === answer
  );
  return {
    text: isReversed ? second : first!,
    positive: isReversed ? first! : second,
    negatives: [],
    isGuessed: true,
  };
}

function isNegative({ name }: Column): boolean {
  return NEGATIVE.test(name);
}
