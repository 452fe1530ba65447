import * as z from "zod";

/** Tokens of a word. */
export interface Pieces {
  readonly ids: readonly number[];
  /** Start and end of each in the word, one token after the other. */
  readonly spans: readonly number[];
}

/** The model of a tokenizer, which cuts words into tokens. */
export interface TokenModel {
  /** @throws {RangeError} If it has no token for a part of the word */
  encode(word: string): Pieces;
  /** Id of a token of the vocabulary. */
  idOf(token: string): number | undefined;
  /** Number of tokens of the vocabulary. */
  readonly size: number;
}

/**
 * Difference between the scores of the rarest piece and of an unknown
 * character.
 */
const UNKNOWN_PENALTY = 10;

const Settings = z.looseObject({
  unk_id: z.int().nonnegative().nullish(),
  byte_fallback: z.boolean().default(false),
  vocab: z.array(z.tuple([z.string(), z.number()])).min(1),
});

/**
 * The Unigram model of SentencePiece: cuts a word into the pieces whose scores,
 * logarithms of probabilities, have the largest sum.
 *
 * Viterbi's algorithm in the order of `encode_optimized()` of
 * https://github.com/huggingface/tokenizers, which decides between equal sums.
 * Time is linear in the length of the word.
 *
 * @param settings `model` of a `tokenizer.json`.
 * @throws {z.ZodError | RangeError} If it does not describe a Unigram model.
 */
export function unigram(settings: unknown): TokenModel {
  const { unk_id, byte_fallback, vocab } = Settings.parse(settings);
  if (unk_id != null && unk_id >= vocab.length) {
    throw new RangeError(
      `"unk_id" is ${unk_id}, but the vocabulary has ${vocab.length} pieces`,
    );
  }
  const ids = new Map<string, number>();
  const scores = new Float64Array(vocab.length);
  let lowest = Infinity;
  for (const [id, [piece, score]] of vocab.entries()) {
    ids.set(piece, id);
    scores[id] = score;
    lowest = Math.min(lowest, score);
  }
  /** Pieces by their UTF-16 units. */
  const sorted = [...ids.keys()].sort();

  /**
   * The first of some pieces, equal before an index, whose unit there is at
   * least `unit`.
   */
  const firstFrom = (unit: number, index: number, from: number, to: number) => {
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (sorted[middle]!.charCodeAt(index) >= unit) to = middle;
      else from = middle + 1;
    }
    return from;
  };

  const unknownIds = (text: string): number[] => {
    const id = ids.get(text);
    if (id !== undefined) return [id];
    const bytes = new TextEncoder().encode(text).toHex().toUpperCase()
      .match(/../g)!.map((hex) => ids.get(`<0x${hex}>`) ?? -1);
    return byte_fallback && !bytes.includes(-1) ? bytes : [unk_id!];
  };

  return {
    idOf: (piece: string) => ids.get(piece),
    size: vocab.length,
    // Neighbouring unknown characters become one unknown token, or their bytes
    // if the model falls back to bytes.
    encode(word) {
      const best = new Float64Array(word.length + 1);
      const starts = new Int32Array(word.length + 1).fill(-1);
      const pieces = new Int32Array(word.length + 1);
      const offer = (start: number, end: number, id: number, score: number) => {
        const sum = score + best[start]!;
        if (starts[end] !== -1 && sum <= best[end]!) return;
        best[end] = sum;
        starts[end] = start;
        pieces[end] = id;
      };
      for (let start = 0; start < word.length;) {
        const next = start + (word.codePointAt(start)! > 0xffff ? 2 : 1);
        let isKnown = false;
        let from = 0;
        let to = sorted.length;
        for (let last = start; last < word.length; last++) {
          // The pieces that start as the word does here; the shortest is the
          // first.
          const unit = word.charCodeAt(last);
          from = firstFrom(unit, last - start, from, to);
          to = firstFrom(unit + 1, last - start, from, to);
          if (from === to) break;
          const piece = sorted[from]!;
          const end = last + 1;
          if (piece.length > end - start) continue;
          const id = ids.get(piece)!;
          offer(start, end, id, scores[id]!);
          if (end === next) isKnown = true;
        }
        if (!isKnown) {
          if (unk_id == null) {
            const character = JSON.stringify(word.slice(start, next));
            throw new RangeError(
              `The model has no unknown token for ${character}`,
            );
          }
          offer(start, next, unk_id, lowest - UNKNOWN_PENALTY);
        }
        start = next;
      }
      // From the last piece to the first.
      const idsOfWord: number[] = [];
      const spans: number[] = [];
      for (let end = word.length; end > 0;) {
        const id = pieces[end]!;
        let start = starts[end]!;
        let idsOfPiece = [id];
        if (id === unk_id) {
          while (start > 0 && pieces[start] === unk_id) start = starts[start]!;
          idsOfPiece = unknownIds(word.slice(start, end));
        }
        for (const id of idsOfPiece.reverse()) {
          idsOfWord.push(id);
          spans.push(end, start);
        }
        end = start;
      }
      return { ids: idsOfWord.reverse(), spans: spans.reverse() };
    },
  };
}
