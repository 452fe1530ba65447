import { z } from "zod";
import type { Random } from "../random.ts";

/**
 * Scale of an adapter at rank b, of alpha and the maximum rank R: "rank" is
 * `alpha / b`, as DyLoRA is trained; "maximum" is `alpha / R` at every b, as a
 * LoRA of rank R is trained; with an exponent p it is `(alpha / R) (R / b)^p`,
 * so that "rank" has exponent 1 and "maximum" 0.
 */
export const RankScaling = z.union([
  z.enum(["rank", "maximum"]),
  z.strictObject({ exponent: z.number().min(0).max(2) }),
]);

export type RankScaling = z.output<typeof RankScaling>;

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
  /** Those of its fields that may be null. */
  readonly optionalFields?: readonly string[];
  /** Lowest rank that its adapters serve; they serve every rank from there to their own. */
  lowestRank(
    training: { readonly rank: number } & Record<string, unknown>,
  ): number;
  /** How the steps of a training drew ranks, in words; absent if they drew none. */
  readonly drawsInWords?: (training: Record<string, unknown>) => string;
}

/** A method that trains adapters, with parameters of its own. */
export interface AdapterMethod<Params, Entry> extends Method {
  readonly scaling: (params: Params) => RankScaling;
  /** Its fields of `training.json`. */
  readonly entry: (params: Params & AdapterSize) => Entry;
  /** The objective of a training. */
  readonly objective: (params: Params & AdapterSize) => RankObjective;
}

/** The maximum rank of an adapter, and its alpha. */
export interface AdapterSize {
  readonly rank: number;
  readonly alpha: number;
}

/** A method that trains without adapters: the head alone, or all weights. */
export interface ClassifierMethod extends Method {
  readonly trains: "head" | "all";
}

/** Unit that draws one rank in a step. */
export type RankScope = "model" | "module" | "example";

/** What each optimizer step of a training does with the ranks of its adapters. */
export interface RankObjective {
  /** Whether a step draws one rank for the whole model, or one for each adapted module or example. */
  readonly scope: RankScope;
  /** Share of the steps before the factors are sorted, all at the maximum rank; 0, the default, if they never are, 1 after the last step. */
  readonly sortAt?: number;
  /** Weights of a step's losses, one for each rank at which it computes its batch; they add up to 1. */
  readonly lossWeights: readonly number[];
  /** True if rows outside the gradient mask keep their bits: each row then has its own step count in AdamW. */
  readonly isStrict: boolean;
  /** Draws a rank. */
  draw(random: Random): number;
  /** Draws the ranks of the examples of a step, each as often as its probability says, in random order. Required with scope "example". */
  drawMany?(random: Random, count: number): number[];
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

/** Scale of an adapter of rank `maxRank` at rank b. */
export function scaleAt(
  b: number,
  alpha: number,
  maxRank: number,
  scaling: RankScaling,
): number {
  if (scaling === "rank") return alpha / b;
  const atMaximum = alpha / maxRank;
  return scaling === "maximum"
    ? atMaximum
    : atMaximum * (maxRank / b) ** scaling.exponent;
}

/** The alpha with which an adapter of rank b has this scale in PEFT, where it is alpha / b. */
export function peftAlpha(
  b: number,
  alpha: number,
  maxRank: number,
  scaling: RankScaling,
): number {
  if (scaling === "rank") return alpha;
  const atMaximum = alpha * b / maxRank;
  return scaling === "maximum"
    ? atMaximum
    : atMaximum * (maxRank / b) ** scaling.exponent;
}

/** The scale at rank b in words. */
export function scaleInWords(scaling: RankScaling): string {
  const exponent = typeof scaling === "object"
    ? scaling.exponent
    : { rank: 1, maximum: 0 }[scaling];
  if (exponent === 1) return "alpha / b";
  return exponent === 0 ? "alpha / R" : `(alpha / R) (R / b)^${exponent}`;
}

/** Scale of each row at rank b: that of the rank for the first b rows, 0 beyond. `[maxRank]` */
export function rankScale(
  b: number,
  alpha: number,
  maxRank: number,
  scaling: RankScaling = "rank",
): Float32Array<ArrayBuffer> {
  checkRank(b, maxRank);
  const scale = b === 0 ? 0 : scaleAt(b, alpha, maxRank, scaling);
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
