import { type Examples, paddedLength } from "./batches.ts";

/**
 * What the first pass at a length takes beyond the later ones, for tracing and
 * compiling, in floating-point operations: two seconds at 150 GFLOPS, as
 * measured for MiniLM. A constant, so that results do not depend on the
 * machine's speed.
 */
const FIRST_PASS = 3e11;

/**
 * Chooses the lengths to which batches are padded: few, where preparing
 * another would take longer than computing its padding.
 *
 * @param batches All batches of a pass over the examples, as lists of example numbers
 * @param passes How often such a pass is made
 * @param flops Floating-point operations of a batch, `[batch, seq]`
 * @returns The length for any batch whose longest example is no longer than those of `batches`
 */
export function paddedLengths(
  examples: Examples,
  batches: readonly (readonly number[])[],
  passes: number,
  flops: (shape: readonly [number, number]) => number,
): (indices: readonly number[]) => number {
  const sizes = Map.groupBy(
    batches,
    (indices) => paddedLength(examples, indices),
  );
  const uses = [...sizes].sort(([a], [b]) => a - b).map(([length, found]) => ({
    length,
    sequences: passes * found.reduce((sum, { length }) => sum + length, 0),
  }));
  const chosen = cheapestLengths(uses, (length) => flops([1, length]));
  return (indices) => {
    const needed = paddedLength(examples, indices);
    return chosen.find((length) => length >= needed)!;
  };
}

/** Sequences whose batch needs a length. */
interface Use {
  readonly length: number;
  readonly sequences: number;
}

/**
 * The set of lengths that costs least: each of them a first pass, and every
 * sequence what the smallest of them that it fits takes. By dynamic
 * programming over the longest length of all but the last of them.
 */
function cheapestLengths(
  uses: readonly Use[],
  flops: (length: number) => number,
): number[] {
  let plans: { readonly cost: number; readonly lengths: readonly number[] }[] =
    [{ cost: 0, lengths: [] }];
  uses.forEach(({ length }, last) => {
    let best = { cost: Infinity, lengths: [] as readonly number[] };
    let sequences = 0;
    for (let first = last; first >= 0; first--) {
      sequences += uses[first]!.sequences;
      const before = plans[first]!;
      const cost = before.cost + FIRST_PASS + sequences * flops(length);
      if (cost < best.cost) {
        best = { cost, lengths: [...before.lengths, length] };
      }
    }
    plans = [...plans, best];
  });
  return [...plans.at(-1)!.lengths];
}
