import * as z from "zod";
import { checkRank, firstRows, rankScale } from "../adapters/scale.ts";
import { type Random, shuffle } from "../random.ts";
import { fixed } from "./fixed.ts";
import type { RankObjective, Schedule } from "./schedule.ts";

/** How a step draws its rank. */
export const Sampler = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("uniform") }),
  z.strictObject({
    kind: z.literal("geometric"),
    /** P(b) is proportional to p (1 - p)^(b - 1). */
    p: z.number().gt(0).lt(1).default(0.15),
  }),
  /** Uniform in the logarithm of the rank: P(b) is proportional to 1 / b. */
  z.strictObject({ kind: z.literal("log") }),
  /** Uniform over these ranks. */
  z.strictObject({
    kind: z.literal("list"),
    ranks: z.array(z.int().min(1)).min(1),
  }),
]);

export type Sampler = z.output<typeof Sampler>;

const settings = {
  sortAt: z.number().min(0).max(1).default(0).describe(
    "Share of the steps at the full rank, after which the rows are sorted by their singular values and the other steps draw ranks; 0 = draw from the start, as in the paper; 1 = never draw, which is a LoRA reduced by SVD",
  ),
  mode: z.enum(["all", "frozen"]).default("all").describe(
    "Rows that a step at rank b trains: all = 1 to b; frozen = b, while momentum and weight decay still move the others",
  ),
  sampler: Sampler.default({ kind: "uniform" }).describe(
    "Distribution of the rank of a step: uniform, geometric or log (proportional to 1 / b) from 1 to rank, or uniform over a list that includes rank",
  ),
  scope: z.enum(["model", "example"]).default("model").describe(
    "Scope of the rank that a step draws: model = one rank for the whole model; example = one rank for each example, each as often in a batch as the sampler says",
  ),
  sourceRanks: z.array(z.int().min(1)).default([]).describe(
    "Ranks above the adapter's that the steps before sortAt train with the same alpha, highest first, in equal shares: [64] learns at rank 64, sorts, and goes on at rank; [64, 32, 16] sorts and descends in steps; [] = rank",
  ),
};

export type DyloraSettings = z.output<z.ZodObject<typeof settings>>;

/**
 * DyLoRA (arXiv 2210.07558): each step trains the rows up to a rank drawn at
 * random, so that one adapter serves every rank.
 */
export const dylora: Schedule<"dylora", typeof settings> = {
  name: "dylora",
  title: "DyLoRA",
  role: "candidate",
  scaling: "rank",
  settings,
  lowestRank: ({ sampler }) =>
    sampler.kind === "list" ? Math.min(...sampler.ranks) : 1,
  drawsInWords,
  objective({ mode, sampler, scope, sortAt, sourceRanks }, adapter) {
    const { rank } = adapter;
    if (sampler.kind === "list") checkList(sampler.ranks, rank);
    checkSources(sourceRanks, rank, sortAt);
    if (mode !== "all" && (scope === "example" || sortAt > 0)) {
      const reason = scope === "example"
        ? 'scope "example" draws several ranks per step'
        : '"sortAt" first trains all rows at the full rank';
      throw new RangeError(
        `Mode "${mode}" trains one row per step, but ${reason}; use mode "all"`,
      );
    }
    const perExample = scope === "example";
    const objective: RankObjective = {
      perExample,
      lossWeights: [1],
      draw: (random, examples) =>
        perExample
          ? spreadRanks(sampler, rank, random, examples)
          : [rankAt(sampler, rank, random.next())],
      scale: (b) => rankScale(b, adapter),
      gradientMask: (b) => {
        const rows = firstRows(b, rank);
        return mode === "all" ? rows : rows.fill(0, 0, b - 1);
      },
    };
    if (sortAt === 0) return objective;
    const sources = sourceRanks.length === 0 ? [rank] : sourceRanks;
    return {
      ...objective,
      phases(steps, idle) {
        const starts = sortedStarts(sortAt, sources.length, steps, idle);
        return [...sources, rank].map((rank, i) => ({
          from: starts[i]!,
          rank,
          objective: i === sources.length ? objective : {
            ...fixed.objective({}, { ...adapter, rank }),
            perExample,
            draw: (_, examples) =>
              Array<number>(perExample ? examples : 1).fill(rank),
          },
        }));
      },
    };
  },
};

/**
 * The steps at which the phases start: some at a full rank, of equal lengths,
 * after each of which the rows are sorted, and the one that draws ranks.
 *
 * @throws {RangeError} If a phase does not change the rows that are sorted
 * after it, or none draws ranks although some should
 */
function sortedStarts(
  sortAt: number,
  sorts: number,
  steps: number,
  idle: number,
): number[] {
  const end = Math.round(sortAt * steps);
  const starts = Array.from(
    { length: sorts + 1 },
    (_, i) => Math.round(end * i / sorts),
  );
  const fault =
    starts.some((from, i) => i > 0 && from <= Math.max(idle, starts[i - 1]!))
      ? "too few to change the rows before each sort"
      : end === steps && sortAt < 1
      ? "which leaves none that draws ranks"
      : undefined;
  if (fault === undefined) return starts;
  throw new RangeError(
    `"sortAt: ${sortAt}" sorts the rows after ${end} of ${steps} steps, ${fault}: train for more steps, or use another share (0 = draw ranks from the start, 1 = sort after the last step)`,
  );
}

/**
 * How ranks are drawn: `uniformly for each example, after the rows were sorted`
 * and so on.
 */
function drawsInWords(
  { mode, sampler, scope, sortAt, sourceRanks }: DyloraSettings,
) {
  const from = sourceRanks.length === 0
    ? ""
    : ` from rank ${sourceRanks.join(", ")}`;
  if (sortAt === 1) {
    return `none, the rows were sorted${from} after the last step`;
  }
  return [
    `${inWords(sampler)} for each ${scope === "model" ? "step" : scope}`,
    ...mode === "all" ? [] : [`mode ${mode}`],
    ...sortAt === 0 ? [] : [
      `after the rows were sorted${from} at ${
        Number((100 * sortAt).toPrecision(6))
      } % of the steps`,
    ],
  ].join(", ");
}

function inWords(sampler: Sampler): string {
  switch (sampler.kind) {
    case "uniform":
      return "uniformly";
    case "log":
      return "uniformly in the logarithm";
    case "list":
      return `from ${sampler.ranks.join(" ")}`;
    case "geometric":
      return `geometrically (p = ${sampler.p})`;
  }
}

function checkSources(
  sources: readonly number[],
  rank: number,
  sortAt: number,
): void {
  if (sources.length === 0) return;
  const descends = [...sources, rank].every((it, i, all) =>
    i === 0 || it < all[i - 1]!
  );
  if (sortAt > 0 && descends) return;
  throw new RangeError(
    `The sourceRanks ${sources.join(", ")} ${
      sortAt === 0
        ? 'are trained before the rows are sorted: set "sortAt" above 0'
        : `must descend to above the adapter's rank ${rank}`
    }`,
  );
}

function checkList(ranks: readonly number[], maxRank: number): void {
  for (const rank of ranks) checkRank(rank, maxRank);
  if (!ranks.includes(maxRank)) {
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
  const ranks = sampler.kind === "list"
    ? sampler.ranks
    : Array.from({ length: maxRank }, (_, i) => i + 1);
  const weights = ranks.map((rank) => weightOf(sampler, rank));
  let left = share * weights.reduce((sum, weight) => sum + weight);
  for (const [i, rank] of ranks.entries()) {
    left -= weights[i]!;
    if (left < 0) return rank;
  }
  // By rounding, something may be left after the last.
  return ranks.at(-1)!;
}

/** What the probability of a rank is proportional to. */
function weightOf(sampler: Sampler, rank: number): number {
  if (sampler.kind === "log") return 1 / rank;
  return sampler.kind === "geometric" ? (1 - sampler.p) ** (rank - 1) : 1;
}

/** Ranks at evenly spaced shares of the distribution, in random order. */
function spreadRanks(
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
