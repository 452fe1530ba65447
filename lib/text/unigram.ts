import * as z from "zod";

/** Tokens of a word. */
export interface Pieces {
  readonly ids: readonly number[];
  /** Start and end of each in the word, one token after the other. */
  readonly spans: readonly number[];
}

/** Difference between the scores of the rarest piece and of an unknown character. */
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
export function unigram(settings: unknown) {
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

  /** The first of some pieces, equal before a place, whose unit there is at least `unit`. */
  const firstFrom = (unit: number, place: number, from: number, to: number) => {
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (sorted[middle]!.charCodeAt(place) >= unit) to = middle;
      else from = middle + 1;
    }
    return from;
  };

  const unknownIds = (text: string): number[] => {
    const own = ids.get(text);
    if (own !== undefined) return [own];
    const bytes = new TextEncoder().encode(text).toHex().toUpperCase()
      .match(/../g)!.map((hex) => ids.get(`<0x${hex}>`) ?? -1);
    return byte_fallback && !bytes.includes(-1) ? bytes : [unk_id!];
  };

  return {
    idOf: (piece: string) => ids.get(piece),
    /** Tokens of the vocabulary. */
    size: vocab.length,
    /**
     * The best pieces of a word.
     *
     * Neighbouring unknown characters become one unknown token, or their bytes
     * if the model falls back to bytes.
     *
     * @throws {RangeError} If a character is unknown and the model has no unknown token.
     */
    encode(word: string): Pieces {
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
        let known = false;
        let [from, to] = [0, sorted.length];
        for (let end = start; end < word.length;) {
          // The pieces that start as the word does here; the shortest is the first.
          const unit = word.charCodeAt(end);
          from = firstFrom(unit, end - start, from, to);
          to = firstFrom(unit + 1, end - start, from, to);
          if (from === to) break;
          const piece = sorted[from]!;
          if (piece.length > ++end - start) continue;
          const id = ids.get(piece)!;
          offer(start, end, id, scores[id]!);
          known ||= end === next;
        }
        if (!known) {
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
      const [found, spans]: [number[], number[]] = [[], []];
      for (let end = word.length; end > 0;) {
        let start = starts[end]!;
        let own = [pieces[end]!];
        if (own[0] === unk_id) {
          while (start > 0 && pieces[start] === unk_id) start = starts[start]!;
          own = unknownIds(word.slice(start, end));
        }
        for (const id of own.reverse()) {
          found.push(id);
          spans.push(end, start);
        }
        end = start;
      }
      return { ids: found.reverse(), spans: spans.reverse() };
    },
  };
}
