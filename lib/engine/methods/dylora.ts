import { z } from "zod";
import type { Random } from "../random.ts";
import {
  type AdapterMethod,
  checkRank,
  firstRows,
  type Method,
  rankScale,
} from "./method.ts";

const rank = z.int().min(1);

/** How a step draws its rank. */
export const Sampler = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("uniform"),
    minRank: rank.optional(),
  }),
  z.strictObject({
    kind: z.literal("geometric"),
    /** P(b) is proportional to p (1 - p)^(b - 1). */
    p: z.number().gt(0).lt(1).default(0.15),
    minRank: rank.optional(),
  }),
  /** Uniform over these ranks. */
  z.strictObject({
    kind: z.literal("list"),
    ranks: z.array(rank).min(1),
  }),
]);

export type Sampler = z.output<typeof Sampler>;

/** Fields of `training.json` that DyLoRA alone has. */
export const dyloraFields = {
  /** Rows that a step trained. */
  mode: z.enum(["all", "frozen", "frozen-strict"]),
  sampler: Sampler,
  /** Whether a step drew one rank for the whole model, or one for each adapted module. */
  scope: z.enum(["model", "module"]),
};

/** Parameters of DyLoRA beside those of LoRA. */
export const dyloraParams = {
  mode: dyloraFields.mode.default("all").describe(
    "Rows that a step at rank b trains: all = 1 to b; frozen = b, while momentum and weight decay still move the others; frozen-strict = b only",
  ),
  sampler: Sampler.default({ kind: "uniform" }).describe(
    "Distribution of the rank of a step: uniform or geometric from minRank (default 1) to rank, or uniform over a list",
  ),
  scaling: z.enum(["rank", "maximum"]).default("rank").describe(
    "Scale at rank b: rank = alpha / b, as in the paper; maximum = alpha / rank of the adapter at every b",
  ),
  scope: dyloraFields.scope.default("model").describe(
    "Scope of the rank that a step draws: model = one rank for the whole model; module = one rank for each adapted module",
  ),
};

/** Values of {@linkcode dyloraParams}. */
export type DyloraParams = z.output<z.ZodObject<typeof dyloraParams>>;

/**
 * DyLoRA (arXiv 2210.07558): each step trains the rows up to a rank drawn at
 * random, so that one adapter serves every rank.
 */
export const dylora: AdapterMethod<
  DyloraParams,
  Pick<DyloraParams, "mode" | "sampler" | "scope">
> = {
  name: "dylora",
  title: "DyLoRA",
  role: "candidate",
  fields: Object.keys(dyloraFields),
  lowestRank: ({ sampler }) => lowestDrawn(sampler as Sampler),
  scaling: ({ scaling }) => scaling,
  entry: ({ mode, sampler, scope }) => ({ mode, sampler, scope }),
  objective({ mode, sampler, scaling, scope, rank, alpha }) {
    checkSampler(sampler, rank);
    return {
      scope,
      lossWeights: [1],
      isStrict: mode === "frozen-strict",
      draw: (random) => drawRank(sampler, rank, random),
      scale: (b) => rankScale(b, alpha, rank, scaling),
      gradientMask: (b) =>
        mode === "all"
          ? firstRows(b, rank)
          // Equation 10 of the paper updates row b alone. The official code
          // masks its gradient only, which is mode "frozen".
          : firstRows(b, rank).map((_, row) => row === b - 1 ? 1 : 0),
    };
  },
};

/** A DyLoRA that was trained elsewhere. */
export const importedDylora: Method = {
  name: "imported-dylora",
  title: "Imported DyLoRA",
  role: "candidate",
  importedScaling: "rank",
  fields: [],
  lowestRank: () => 1,
};

function lowestDrawn(sampler: Sampler): number {
  return sampler.kind === "list"
    ? Math.min(...sampler.ranks)
    : sampler.minRank ?? 1;
}

/** @throws {RangeError} If it draws ranks beyond the adapter's. */
function checkSampler(sampler: Sampler, maxRank: number): void {
  const ranks = sampler.kind === "list"
    ? sampler.ranks
    : [lowestDrawn(sampler)];
  for (const rank of ranks) checkRank(rank, maxRank);
}

/**
 * Draws a rank. The paper's geometric distribution has p = 0.15 and leaves its
 * truncation open; here it is renormalized over the ranks.
 */
function drawRank(sampler: Sampler, maxRank: number, random: Random): number {
  const min = lowestDrawn(sampler);
  switch (sampler.kind) {
    case "uniform":
      return min + Math.floor(random.next() * (maxRank - min + 1));
    case "list":
      return sampler.ranks[Math.floor(random.next() * sampler.ranks.length)]!;
    case "geometric": {
      const { p } = sampler;
      const total = 1 - (1 - p) ** (maxRank - min + 1);
      // Inverse of the truncated distribution function.
      const drawn = min +
        Math.floor(Math.log1p(-random.next() * total) / Math.log1p(-p));
      return Math.min(maxRank, drawn);
    }
  }
}
