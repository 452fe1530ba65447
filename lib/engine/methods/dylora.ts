import { z } from "zod";
import { type Random, shuffle } from "../random.ts";
import {
  type AdapterMethod,
  checkRank,
  firstRows,
  type Method,
  rankScale,
  RankScaling,
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
  /** Whether a step drew one rank for the whole model, or one for each adapted module or example. */
  scope: z.enum(["model", "module", "example"]),
  /** Share of the steps before the factors were sorted; null if they never were. */
  sortAt: z.number().gt(0).max(1),
};

/** Parameters of DyLoRA beside those of LoRA. */
export const dyloraParams = {
  mode: dyloraFields.mode.default("all").describe(
    "Rows that a step at rank b trains: all = 1 to b; frozen = b, while momentum and weight decay still move the others; frozen-strict = b only",
  ),
  sampler: Sampler.default({ kind: "uniform" }).describe(
    "Distribution of the rank of a step: uniform or geometric from minRank (default 1) to rank, or uniform over a list that includes rank",
  ),
  scaling: RankScaling.default("rank").describe(
    "Scale at rank b: rank = alpha / b, as in the paper; maximum = alpha / R at every b, with R the rank of the adapter; {exponent: p} = (alpha / R) (R / b)^p",
  ),
  scope: dyloraFields.scope.default("model").describe(
    "Scope of the rank that a step draws: model = one rank for the whole model; module = one rank for each adapted module; example = one rank for each example, each as often in a batch as the sampler says",
  ),
  sortAt: z.number().min(0).max(1).default(0).describe(
    "Share of the steps at the full rank, after which the rows are sorted by their singular values and the other steps draw ranks; 0 = draw from the start, as in the paper; 1 = never draw, which is a LoRA reduced by SVD",
  ),
};

/** Values of {@linkcode dyloraParams}. */
export type DyloraParams = z.output<z.ZodObject<typeof dyloraParams>>;

interface Entry extends Pick<DyloraParams, "mode" | "sampler" | "scope"> {
  readonly sortAt: number | null;
}

/**
 * DyLoRA (arXiv 2210.07558): each step trains the rows up to a rank drawn at
 * random, so that one adapter serves every rank.
 */
export const dylora: AdapterMethod<DyloraParams, Entry> = {
  name: "dylora",
  title: "DyLoRA",
  role: "candidate",
  fields: Object.keys(dyloraFields),
  optionalFields: ["sortAt"],
  lowestRank: ({ sampler }) => lowestDrawn(sampler as Sampler),
  drawsInWords: (training) => drawsInWords(training as unknown as Entry),
  scaling: ({ scaling }) => scaling,
  entry: ({ mode, sampler, scope, sortAt }) => ({
    mode,
    sampler,
    scope,
    sortAt: sortAt || null,
  }),
  objective({ mode, sampler, scaling, scope, sortAt, rank, alpha }) {
    checkSampler(sampler, rank);
    const [reason] = mode === "all" ? [] : [
      ...scope === "example"
        ? ['scope "example" draws several ranks per step']
        : [],
      ...sortAt > 0 ? ['"sortAt" first trains all rows at the full rank'] : [],
    ];
    if (reason !== undefined) {
      throw new RangeError(
        `Mode "${mode}" trains one row per step, but ${reason}; use mode "all"`,
      );
    }
    return {
      scope,
      sortAt,
      lossWeights: [1],
      isStrict: mode === "frozen-strict",
      draw: (random) => rankAt(sampler, rank, random.next()),
      drawMany: (random, count) => drawMany(sampler, rank, random, count),
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

/** A DyLoRA adapter that was trained elsewhere. */
export const importedDylora: Method = {
  name: "imported-dylora",
  title: "Imported DyLoRA",
  role: "candidate",
  importedScaling: "rank",
  fields: [],
  lowestRank: () => 1,
};

/** `uniformly for each example, after the rows were sorted at 60 % of the steps`. */
function drawsInWords({ mode, sampler, scope, sortAt }: Entry): string {
  if (sortAt === 1) return "none, the rows were sorted after the last step";
  const lowest = lowestDrawn(sampler);
  const how = sampler.kind === "list"
    ? `from ${sampler.ranks.join(" ")}`
    : (sampler.kind === "uniform"
      ? "uniformly"
      : `geometrically (p = ${sampler.p})`) +
      (lowest > 1 ? ` from ${lowest} on` : "");
  return [
    `${how} for each ${scope === "model" ? "step" : scope}`,
    ...mode === "all" ? [] : [`mode ${mode}`],
    ...sortAt === null ? [] : [
      `after the rows were sorted at ${
        Number((100 * sortAt).toPrecision(6))
      } % of the steps`,
    ],
  ].join(", ");
}

function lowestDrawn(sampler: Sampler): number {
  return sampler.kind === "list"
    ? Math.min(...sampler.ranks)
    : sampler.minRank ?? 1;
}

/** @throws {RangeError} If it draws ranks beyond the adapter's, or leaves its last rows untrained. */
function checkSampler(sampler: Sampler, maxRank: number): void {
  const ranks = sampler.kind === "list"
    ? sampler.ranks
    : [lowestDrawn(sampler)];
  for (const rank of ranks) checkRank(rank, maxRank);
  if (sampler.kind === "list" && !ranks.includes(maxRank)) {
    throw new RangeError(
      `Ranks ${
        ranks.join(", ")
      } must include the adapter's rank ${maxRank}, since rows beyond the largest would stay untrained`,
    );
  }
}

/**
 * The rank at a share of the distribution, from 0 to 1. The paper's geometric
 * distribution has p = 0.15 and leaves its truncation open; here it is
 * renormalized over the ranks.
 */
function rankAt(sampler: Sampler, maxRank: number, share: number): number {
  const min = lowestDrawn(sampler);
  switch (sampler.kind) {
    case "uniform":
      return min + Math.floor(share * (maxRank - min + 1));
    case "list":
      return sampler.ranks[Math.floor(share * sampler.ranks.length)]!;
    case "geometric": {
      const { p } = sampler;
      const total = 1 - (1 - p) ** (maxRank - min + 1);
      // Inverse of the truncated distribution function.
      const drawn = min +
        Math.floor(Math.log1p(-share * total) / Math.log1p(-p));
      return Math.min(maxRank, drawn);
    }
  }
}

/** Ranks at evenly spaced shares of the distribution, in random order. */
function drawMany(
  sampler: Sampler,
  maxRank: number,
  random: Random,
  count: number,
): number[] {
  const offset = random.next();
  const ranks = Array.from(
    { length: count },
    (_, i) => rankAt(sampler, maxRank, (i + offset) / count),
  );
  shuffle(ranks, random);
  return ranks;
}
