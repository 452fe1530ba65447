import type { Random } from "../random.ts";

/** Divisor of alpha in the scale of an adapter at rank b. */
export type RankScaling =
  /** The rank b in use, as DyLoRA is trained. */
  | "rank"
  /** The maximum rank R at every b, as a LoRA of rank R is trained. */
  | "maximum";

/** A way to train a classifier, or to derive an adapter from a trained one. */
export interface Method {
  /** Name in artifacts and reports. */
  readonly name: string;
  readonly title: string;
  /**
   * Role in a comparison: all candidates are compared with the baseline; a
   * bound has no rank.
   */
  readonly role: "candidate" | "baseline" | "bound";
  /** Scaling of imported adapters, whose training is unknown; undefined for methods of this project. */
  readonly importedScaling?: RankScaling;
  /** The method whose trained adapter it reduces, and how. */
  readonly reduces?: {
    readonly method: string;
    readonly by: "truncation" | "svd";
  };
  /** Its own fields of `training.json`; empty if it has none. */
  readonly fields: readonly string[];
  /** Lowest rank that its adapters serve; they serve every rank from there to their own. */
  lowestRank(
    training: { readonly rank: number } & Record<string, unknown>,
  ): number;
}

/** A method that trains adapters, with parameters of its own. */
export interface AdapterMethod<Params, Entry> extends Method {
  readonly scaling: (params: Params) => RankScaling;
  /** Its fields of `training.json`. */
  readonly entry: (params: Params) => Entry;
  /** The objective of a training. */
  readonly objective: (
    params: Params & { readonly rank: number; readonly alpha: number },
  ) => RankObjective;
}

/** A method that trains without adapters: the head alone, or all weights. */
export interface ClassifierMethod extends Method {
  readonly trains: "head" | "all";
}

/** What each optimizer step of a training does with the ranks of its adapters. */
export interface RankObjective {
  /** Whether a step draws one rank for the whole model, or one for each adapted module. */
  readonly scope: "model" | "module";
  /** Weights of a step's losses, one for each rank at which it computes its batch; they add up to 1. */
  readonly lossWeights: readonly number[];
  /** True if rows outside the gradient mask keep their bits: each row then has its own step count in AdamW. */
  readonly isStrict: boolean;
  /** Draws the rank of a step. */
  draw(random: Random): number;
  /** Scale of each row when a rank is drawn: `[losses, rank]`, flat. */
  scale(rank: number): Float32Array;
  /** 1 for each row that gets a gradient when a rank is drawn: `[rank]`. */
  gradientMask(rank: number): Float32Array;
}

/** Ranks that an adapter serves, ascending. */
export function servedRanks(
  method: Method,
  training: { readonly rank: number } & Record<string, unknown>,
): number[] {
  const lowest = method.lowestRank(training);
  return Array.from(
    { length: training.rank - lowest + 1 },
    (_, i) => lowest + i,
  );
}

/** Scale of each row at rank b: alpha / b or alpha / R for the first b rows, 0 beyond. `[maxRank]` */
export function rankScale(
  b: number,
  alpha: number,
  maxRank: number,
  scaling: RankScaling = "rank",
): Float32Array<ArrayBuffer> {
  checkRank(b, maxRank);
  const scale = alpha / (scaling === "rank" ? b : maxRank);
  return Float32Array.from(
    { length: maxRank },
    (_, row) => row < b ? scale : 0,
  );
}

/** 1 for the first b rows, 0 beyond. `[maxRank]` */
export function firstRows(
  b: number,
  maxRank: number,
): Float32Array<ArrayBuffer> {
  checkRank(b, maxRank);
  return Float32Array.from({ length: maxRank }, (_, row) => row < b ? 1 : 0);
}

/** @throws {RangeError} If a rank is not one of the adapter's. */
export function checkRank(b: number, maxRank: number): void {
  // Rank 0 is that of a model without adapters.
  if (b === 0 && maxRank === 0) return;
  if (!Number.isInteger(b) || b < 1 || b > maxRank) {
    throw new RangeError(
      `Rank ${b} is not between 1 and the maximum rank ${maxRank}`,
    );
  }
}

/** The objective of a training without adapters: rank 0. */
export const WITHOUT_ADAPTERS: RankObjective = {
  scope: "model",
  lossWeights: [1],
  isStrict: false,
  draw: () => 0,
  scale: () => new Float32Array(),
  gradientMask: () => new Float32Array(),
};
