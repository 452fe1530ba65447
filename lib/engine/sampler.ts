import type { Random } from "./random.ts";

/** How DyLoRA draws the rank of a step. */
export type Sampler =
  | { readonly kind: "uniform" }
  /** Truncated to the ranks at hand: P(b) is proportional to p (1 - p)^(b - 1). */
  | { readonly kind: "geometric"; readonly p: number }
  /** Uniform over these ranks. */
  | { readonly kind: "list"; readonly ranks: readonly number[] };

/**
 * Draws ranks, 1-based, from 1 to `maxRank`; of a model without adapters, 0.
 *
 * The paper's geometric distribution has p = 0.15 and leaves its truncation
 * open; here it is renormalized over 1..R.
 *
 * @throws {RangeError} If a listed rank is not one of the model's, or p not a probability.
 */
export function rankSampler(
  sampler: Sampler,
  maxRank: number,
  random: Random,
): () => number {
  switch (sampler.kind) {
    case "uniform":
      return () => 1 + Math.floor(random.next() * maxRank);
    case "list": {
      const { ranks } = sampler;
      for (const rank of ranks) {
        const lowest = Math.min(1, maxRank);
        if (!Number.isInteger(rank) || rank < lowest || rank > maxRank) {
          throw new RangeError(
            `Rank ${rank} is not between 1 and the maximum rank ${maxRank}`,
          );
        }
      }
      if (ranks.length === 0) {
        throw new RangeError("The list of ranks to draw from is empty");
      }
      return () => ranks[Math.floor(random.next() * ranks.length)]!;
    }
    case "geometric": {
      const { p } = sampler;
      if (!(p > 0 && p < 1)) {
        throw new RangeError(`p must be between 0 and 1, not ${p}`);
      }
      const total = 1 - (1 - p) ** maxRank;
      // Inverse of the truncated distribution function.
      return () =>
        Math.min(
          maxRank,
          1 + Math.floor(Math.log1p(-random.next() * total) / Math.log1p(-p)),
        );
    }
  }
}
