import type { Encoding } from "./model_tokenizer.ts";

/** Sequences of tokens, one after the other, not padded. */
export interface PackedEncodings {
  readonly ids: Int32Array;
  readonly types: Uint8Array;
  /** Sequence i is `ids[offsets[i]..offsets[i + 1])`. */
  readonly offsets: Int32Array;
}

/**
 * Puts sequences of tokens one after the other.
 *
 * @param vocabSize Number of tokens that the model knows
 * @throws {RangeError} Naming the sequence, if it has a token that the model does not know.
 */
export function packEncodings(
  encodings: readonly Encoding[],
  vocabSize: number,
): PackedEncodings {
  const offsets = new Int32Array(encodings.length + 1);
  for (const [i, { ids }] of encodings.entries()) {
    const foreign = ids.find((id) => id >= vocabSize);
    if (foreign !== undefined) {
      throw new RangeError(
        `The tokenizer makes token ${foreign} of text ${
          i + 1
        }, but the model knows ${vocabSize} tokens only: its files do not belong together`,
      );
    }
    offsets[i + 1] = offsets[i]! + ids.length;
  }
  const ids = new Int32Array(offsets.at(-1)!);
  const types = new Uint8Array(ids.length);
  for (const [i, encoding] of encodings.entries()) {
    ids.set(encoding.ids, offsets[i]);
    types.set(encoding.types, offsets[i]);
  }
  return { ids, types, offsets };
}
