import * as z from "zod";

/**
 * The rank by which alpha is divided at rank b: b itself, or the maximum rank
 * R.
 */
export const Divisor = z.enum(["rank", "maximum"]);

export type Divisor = z.output<typeof Divisor>;

/**
 * Scale of an adapter at rank b, of alpha and the maximum rank R: "rank" is
 * `alpha / b`, as DyLoRA is trained; "maximum" is `alpha / R` at every b, as a
 * LoRA of rank R is trained. rsLoRA (arXiv 2312.03732) divides by the root.
 */
export const RankScaling = z.union([
  Divisor,
  z.strictObject({ rslora: Divisor }),
]);

export type RankScaling = z.output<typeof RankScaling>;

/**
 * Maximum rank R of an adapter, its alpha, and its scale at the ranks below.
 */
export interface AdapterScale {
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: RankScaling;
}

function divisorOf(scaling: RankScaling): Divisor {
  return typeof scaling === "object" ? scaling.rslora : scaling;
}

/** True for the scales of rsLoRA, PEFT's `use_rslora`. */
export function usesRslora(scaling: RankScaling): boolean {
  return typeof scaling === "object";
}

/** By what PEFT divides alpha at rank b. */
export function divisorAt(b: number, scaling: RankScaling): number {
  return usesRslora(scaling) ? Math.sqrt(b) : b;
}

/** Scale of an adapter at rank b. */
export function scaleAt(
  b: number,
  { rank, alpha, scaling }: AdapterScale,
): number {
  return alpha / divisorAt(divisorOf(scaling) === "rank" ? b : rank, scaling);
}

/**
 * The alpha with which an adapter cut to rank b has this scale in PEFT, where
 * it is alpha / b, or with rsLoRA alpha / sqrt(b).
 */
export function peftAlpha(
  b: number,
  { rank, alpha, scaling }: AdapterScale,
): number {
  return divisorOf(scaling) === "rank"
    ? alpha
    : alpha * divisorAt(b, scaling) / divisorAt(rank, scaling);
}

/** The scale at rank b in words. */
export function scaleInWords(scaling: RankScaling): string {
  const rank = divisorOf(scaling) === "rank" ? "b" : "R";
  return `alpha / ${usesRslora(scaling) ? `sqrt(${rank})` : rank}`;
}

/**
 * Scale of each row at rank b: that of the rank for the first b rows, 0 beyond.
 * `[rank]`
 */
export function rankScale(
  b: number,
  adapter: AdapterScale,
): Float32Array<ArrayBuffer> {
  const rows = firstRows(b, adapter.rank);
  const scale = b === 0 ? 0 : scaleAt(b, adapter);
  return rows.map((row) => row * scale);
}

/** 1 for the first b rows, 0 beyond. `[rank]` */
export function firstRows(
  b: number,
  rank: number,
): Float32Array<ArrayBuffer> {
  checkRank(b, rank);
  return Float32Array.from({ length: rank }, (_, row) => row < b ? 1 : 0);
}

/** @throws {RangeError} If a rank is not one of the adapter's. */
export function checkRank(b: number, rank: number): void {
  // Rank 0 is that of a model without adapters.
  if (b === 0 && rank === 0) return;
  if (!Number.isInteger(b) || b < 1 || b > rank) {
    throw new RangeError(
      `Rank ${b} is not between 1 and the maximum rank ${rank}`,
    );
  }
}
