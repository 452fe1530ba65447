import * as z from "zod";

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

/** Maximum rank R of an adapter, its alpha, and its scale at the ranks below. */
export interface AdapterScale {
  readonly rank: number;
  readonly alpha: number;
  readonly scaling: RankScaling;
}

function exponentOf(scaling: RankScaling): number {
  return typeof scaling === "object"
    ? scaling.exponent
    : { rank: 1, maximum: 0 }[scaling];
}

/** Scale of an adapter at rank b. */
export function scaleAt(
  b: number,
  { rank, alpha, scaling }: AdapterScale,
): number {
  return scaling === "rank"
    ? alpha / b
    : alpha / rank * (rank / b) ** exponentOf(scaling);
}

/** The alpha with which an adapter cut to rank b has this scale in PEFT, where it is alpha / b. */
export function peftAlpha(
  b: number,
  { rank, alpha, scaling }: AdapterScale,
): number {
  return scaling === "rank"
    ? alpha
    : alpha * b / rank * (rank / b) ** exponentOf(scaling);
}

/** The scale at rank b in words. */
export function scaleInWords(scaling: RankScaling): string {
  const exponent = exponentOf(scaling);
  if (exponent === 1) return "alpha / b";
  return exponent === 0 ? "alpha / R" : `(alpha / R) (R / b)^${exponent}`;
}

/** Scale of each row at rank b: that of the rank for the first b rows, 0 beyond. `[rank]` */
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
