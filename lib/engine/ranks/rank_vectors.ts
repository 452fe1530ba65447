/** Which rows of the adapters a step trains. */
export type UpdateMode =
  /** Rows 1..b get a gradient. */
  | "all"
  /** Row b alone gets a gradient; momentum and weight decay still move the others, as in the official code. */
  | "frozen"
  /** Row b alone is updated, the others keep their bits (arXiv 2210.07558, equation 10). */
  | "frozen-strict";

/** What alpha is divided by to give the scale of an adapter at rank b. */
export type RankScaling =
  /** The rank b in use, as DyLoRA is trained. */
  | "rank"
  /** The maximum rank R at every b, as a LoRA of rank R is trained. */
  | "maximum";

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

/** 1 for each row that gets a gradient when rank b is drawn. `[maxRank]` */
export function trainedRows(
  b: number,
  mode: UpdateMode,
  maxRank: number,
): Float32Array<ArrayBuffer> {
  checkRank(b, maxRank);
  return Float32Array.from(
    { length: maxRank },
    (_, row) => (mode === "all" ? row < b : row === b - 1) ? 1 : 0,
  );
}

function checkRank(b: number, maxRank: number): void {
  // Rank 0 is that of a model without adapters.
  if (b === 0 && maxRank === 0) return;
  if (!Number.isInteger(b) || b < 1 || b > maxRank) {
    throw new RangeError(
      `Rank ${b} is not between 1 and the maximum rank ${maxRank}`,
    );
  }
}
