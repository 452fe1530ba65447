import * as z from "zod";

/**
 * Scale of an adapter at rank b, of alpha and the maximum rank R: "rank" is
 * `alpha / b`, as DyLoRA is trained; "maximum" is `alpha / R` at every b, as a
 * LoRA of rank R is trained; with an exponent p it is `(alpha / R) (R / b)^p`,
 * so that "rank" has exponent 1 and "maximum" 0. rsLoRA (arXiv 2312.03732)
 * divides alpha by the root of R instead; then "rank", `alpha / sqrt(b)`, is
 * the exponent 0.5.
 */
export const RankScaling = z.union([
  z.enum(["rank", "maximum"]),
  z.strictObject({
    exponent: z.number().min(0).max(2),
    useRslora: z.literal(true).exactOptional(),
  }),
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

/** True for the scales of rsLoRA, PEFT's `use_rslora`. */
export function usesRslora(scaling: RankScaling): boolean {
  return typeof scaling === "object" && scaling.useRslora === true;
}

/** A scaling as rsLoRA has it. */
export function rankStabilized(scaling: RankScaling): RankScaling {
  const exponent = scaling === "rank" ? 0.5 : exponentOf(scaling);
  return { exponent, useRslora: true };
}

/** By what PEFT divides alpha at rank b. */
export function divisorAt(b: number, scaling: RankScaling): number {
  return usesRslora(scaling) ? Math.sqrt(b) : b;
}

/** True if the scale at each rank is the one that PEFT gives an adapter of this rank. */
function isPeftScale(scaling: RankScaling): boolean {
  return scaling === "rank" ||
    usesRslora(scaling) && exponentOf(scaling) === 0.5;
}

/** Scale of an adapter at rank b. */
export function scaleAt(
  b: number,
  { rank, alpha, scaling }: AdapterScale,
): number {
  return isPeftScale(scaling)
    ? alpha / divisorAt(b, scaling)
    : alpha / divisorAt(rank, scaling) * (rank / b) ** exponentOf(scaling);
}

/** The alpha with which an adapter cut to rank b has this scale in PEFT, where it is alpha / b, or with rsLoRA alpha / sqrt(b). */
export function peftAlpha(
  b: number,
  { rank, alpha, scaling }: AdapterScale,
): number {
  return isPeftScale(scaling)
    ? alpha
    : alpha * divisorAt(b, scaling) / divisorAt(rank, scaling) *
      (rank / b) ** exponentOf(scaling);
}

/** The scale at rank b in words. */
export function scaleInWords(scaling: RankScaling): string {
  const root = (rank: string) => usesRslora(scaling) ? `sqrt(${rank})` : rank;
  const exponent = exponentOf(scaling);
  if (isPeftScale(scaling) || exponent === 1 && !usesRslora(scaling)) {
    return `alpha / ${root("b")}`;
  }
  const ofMaximum = `alpha / ${root("R")}`;
  return exponent === 0 ? ofMaximum : `(${ofMaximum}) (R / b)^${exponent}`;
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
