import type { Random } from "../random.ts";

/** How DyLoRA draws the rank of a step. */
export type Sampler =
  | { readonly kind: "uniform"; readonly minRank?: number | undefined }
  /** Truncated to the ranks at hand: P(b) is proportional to p (1 - p)^(b - 1). */
  | {
    readonly kind: "geometric";
    readonly p: number;
    readonly minRank?: number | undefined;
  }
  /** Uniform over these ranks. */
  | { readonly kind: "list"; readonly ranks: readonly number[] };

/**
 * Draws ranks, 1-based, from the sampler's `minRank` or else 1 to `maxRank`; of a model without adapters, 0.
 *
 * The paper's geometric distribution has p = 0.15 and leaves its truncation
 * open; here it is renormalized over the ranks.
 *
 * @throws {RangeError} If the lowest or a listed rank is not one of the model's, or p not a probability.
 */
export function rankSampler(
  sampler: Sampler,
  maxRank: number,
  random: Random,
): () => number {
  switch (sampler.kind) {
    case "uniform": {
      const min = lowest(sampler.minRank, maxRank);
      return () => min + Math.floor(random.next() * (maxRank - min + 1));
    }
    case "list": {
      const { ranks } = sampler;
      for (const rank of ranks) checkRank(rank, maxRank);
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
      const min = lowest(sampler.minRank, maxRank);
      const total = 1 - (1 - p) ** (maxRank - min + 1);
      // Inverse of the truncated distribution function.
      return () =>
        Math.min(
          maxRank,
          min + Math.floor(Math.log1p(-random.next() * total) / Math.log1p(-p)),
        );
    }
  }
}

function lowest(minRank = 1, maxRank: number): number {
  checkRank(minRank, maxRank);
  return minRank;
}

function checkRank(rank: number, maxRank: number): void {
  if (
    !Number.isInteger(rank) || rank < Math.min(1, maxRank) || rank > maxRank
  ) {
    throw new RangeError(
      `Rank ${rank} is not between 1 and the maximum rank ${maxRank}`,
    );
  }
}
