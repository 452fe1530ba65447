import * as z from "zod";

/** Difference between the scores of the rarest piece and of an unknown character. */
const UNKNOWN_PENALTY = 10;

const Settings = z.looseObject({
  unk_id: z.int().nonnegative().nullish(),
  byte_fallback: z.boolean().default(false),
  vocab: z.array(z.unknown()).min(1),
});

/**
 * The Unigram model of SentencePiece: cuts a word into the pieces whose scores,
 * logarithms of probabilities, have the largest sum.
 *
 * Viterbi's algorithm in the order of `encode_optimized()` of
 * https://github.com/huggingface/tokenizers, which decides between equal sums.
 * Time is linear in the length of the word, memory in that of the vocabulary.
 */
export class Unigram {
  /** Ids by piece. */
  readonly ids = new Map<string, number>();
  readonly #scores: Float64Array;
  readonly #trie: Trie;
  readonly #unknown: number | undefined;
  readonly #unknownScore: number;
  readonly #byteFallback: boolean;

  /**
   * @param settings `model` of a `tokenizer.json`.
   * @throws {z.ZodError | RangeError} If it does not describe a Unigram model.
   */
  constructor(settings: unknown) {
    const { unk_id, byte_fallback, vocab } = Settings.parse(settings);
    if (unk_id != null && unk_id >= vocab.length) {
      throw new RangeError(
        `"unk_id" is ${unk_id}, but the vocabulary has ${vocab.length} pieces`,
      );
    }
    this.#unknown = unk_id ?? undefined;
    this.#byteFallback = byte_fallback;
    this.#scores = new Float64Array(vocab.length);
    let lowest = Infinity;
    let units = 0;
    for (const [id, entry] of vocab.entries()) {
      const [piece, score] = Array.isArray(entry) ? entry : [];
      if (typeof piece !== "string" || !Number.isFinite(score)) {
        throw new RangeError(
          `"vocab" has ${
            JSON.stringify(entry)?.slice(0, 80)
          } at index ${id}; expected a piece and its score`,
        );
      }
      this.ids.set(piece, id);
      this.#scores[id] = score;
      lowest = Math.min(lowest, score);
      units += piece.length;
    }
    this.#unknownScore = lowest - UNKNOWN_PENALTY;
    this.#trie = new Trie(units);
    for (const [piece, id] of this.ids) this.#trie.add(piece, id);
  }

  /**
   * Ids of the best pieces of a word.
   *
   * Neighbouring unknown characters become one unknown token, or their bytes
   * if the model falls back to bytes.
   *
   * @throws {RangeError} If a character is unknown and the model has no unknown token.
   */
  encode(word: string): number[] {
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
      let node = Trie.ROOT;
      for (let end = start; end < word.length;) {
        node = this.#trie.child(node, word.charCodeAt(end++));
        if (node === Trie.NONE) break;
        const id = this.#trie.idOf(node);
        if (id === Trie.NONE) continue;
        offer(start, end, id, this.#scores[id]!);
        known ||= end === next;
      }
      if (!known) {
        if (this.#unknown === undefined) {
          throw new RangeError(
            `The model has no unknown token for ${
              JSON.stringify(word.slice(start, next))
            }`,
          );
        }
        offer(start, next, this.#unknown, this.#unknownScore);
      }
      start = next;
    }
    const ids: number[] = [];
    for (let end = word.length; end > 0;) {
      let start = starts[end]!;
      if (pieces[end] !== this.#unknown) {
        ids.push(pieces[end]!);
      } else {
        while (start > 0 && pieces[start] === this.#unknown) {
          start = starts[start]!;
        }
        ids.push(...this.#unknownIds(word.slice(start, end)).reverse());
      }
      end = start;
    }
    return ids.reverse();
  }

  #unknownIds(text: string): number[] {
    const id = this.ids.get(text);
    if (id !== undefined) return [id];
    if (this.#byteFallback) {
      const bytes = Array.from(new TextEncoder().encode(text), (byte) => {
        const hex = byte.toString(16).toUpperCase().padStart(2, "0");
        return this.ids.get(`<0x${hex}>`);
      });
      if (bytes.every((id) => id !== undefined)) return bytes;
    }
    return [this.#unknown!];
  }
}

/**
 * Pieces by their UTF-16 units, as a hash table of edges in typed arrays: a
 * vocabulary of 250,000 pieces has a million edges.
 */
class Trie {
  static readonly ROOT = 0;
  static readonly NONE = -1;

  /** Edges as `node * 2^16 + unit`, and the node that each leads to. */
  readonly #edges: Float64Array;
  readonly #targets: Int32Array;
  readonly #ids: Int32Array;
  readonly #mask: number;
  #nodes = 1;

  /** @param units Length of all pieces together. */
  constructor(units: number) {
    const slots = 2 ** Math.ceil(Math.log2(2 * units + 2));
    this.#mask = slots - 1;
    this.#edges = new Float64Array(slots).fill(Trie.NONE);
    this.#targets = new Int32Array(slots);
    this.#ids = new Int32Array(units + 1).fill(Trie.NONE);
  }

  add(piece: string, id: number): void {
    let node = Trie.ROOT;
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i);
      const slot = this.#slot(node, unit);
      if (this.#edges[slot] === Trie.NONE) {
        this.#edges[slot] = node * 0x10000 + unit;
        this.#targets[slot] = this.#nodes++;
      }
      node = this.#targets[slot]!;
    }
    if (node !== Trie.ROOT) this.#ids[node] = id;
  }

  child(node: number, unit: number): number {
    const slot = this.#slot(node, unit);
    return this.#edges[slot] === Trie.NONE ? Trie.NONE : this.#targets[slot]!;
  }

  idOf(node: number): number {
    return this.#ids[node]!;
  }

  /** The slot of an edge, or an empty slot for it. */
  #slot(node: number, unit: number): number {
    const edge = node * 0x10000 + unit;
    let slot = Math.imul(node ^ Math.imul(unit, 0x9e3779b1), 0x85ebca6b);
    slot = (slot ^ (slot >>> 15)) & this.#mask;
    while (this.#edges[slot] !== edge && this.#edges[slot] !== Trie.NONE) {
      slot = (slot + 1) & this.#mask;
    }
    return slot;
  }
}
