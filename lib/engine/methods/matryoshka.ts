import { z } from "zod";
import { type AdapterMethod, firstRows, rankScale } from "./method.ts";

/** Field of `training.json` that Matryoshka alone has. */
export const matryoshkaFields = {
  matryoshka: z.strictObject({
    objective: z.enum(["losses", "outputs"]),
    /** Ranks of the prefixes, ascending; the last is the adapter's. */
    ranks: z.array(z.int().positive()).min(1),
    /** Weight of each of them; only their proportions count. */
    weights: z.array(z.number().positive()).min(1),
  }),
};

type Entry = z.output<z.ZodObject<typeof matryoshkaFields>>;

/** Parameters of Matryoshka beside those of LoRA. */
export const matryoshkaParams = {
  objective: z.enum(["losses", "outputs"]).default("losses").describe(
    "What is averaged over the ranks: losses, at one pass per rank and step; or outputs, the updates that the ranks add to a module, with one loss as in MatryoshkaLoRA (arXiv 2605.07850)",
  ),
  ranks: z.array(z.int().min(1)).min(1).optional().describe(
    "Ranks that every step trains, in ascending order up to rank; default: all from 1",
  ),
  weights: z.array(z.number().positive()).min(1).optional().describe(
    "Relative weight of each of these ranks; default: equal weights",
  ),
};

/** Values of {@linkcode matryoshkaParams}. */
export type MatryoshkaParams = z.output<z.ZodObject<typeof matryoshkaParams>>;

/**
 * Trains an adapter at several ranks ("prefixes") in every step.
 *
 * `losses` computes every sequence at each rank and weights the losses.
 * `outputs` weights what the prefixes add to a linear module: `A P B` with a
 * fixed diagonal P, the weighted mean of the prefixes' scales, and one loss; a
 * step costs as much as one of LoRA.
 *
 * The public code of MatryoshkaLoRA has both the sum of the scales (`diag`) and
 * their mean (`binary`). The sum over n ranks trains an update n times as large
 * as that of any prefix in use: alpha / b over ranks 1 to 8 makes it 2.7 times
 * the scale of rank 1 on row 1 and 22 times that of rank 8.
 */
export const matryoshka: AdapterMethod<MatryoshkaParams, Entry> = {
  name: "matryoshka",
  title: "Matryoshka",
  role: "candidate",
  fields: Object.keys(matryoshkaFields),
  lowestRank: ({ matryoshka }) =>
    Math.min(...(matryoshka as Entry["matryoshka"]).ranks),
  scaling: () => "rank",
  entry: (params) => ({ matryoshka: prefixes(params) }),
  objective(params) {
    const { rank: maxRank, alpha } = params;
    const { objective, ranks, weights } = prefixes(params);
    const total = weights.reduce((sum, weight) => sum + weight);
    const shares = weights.map((weight) => weight / total);
    const scales = ranks.map((rank) => rankScale(rank, alpha, maxRank));
    const scale = objective === "losses"
      ? Float32Array.from(scales.flatMap((scale) => [...scale]))
      : Float32Array.from(
        { length: maxRank },
        (_, row) =>
          scales.reduce((sum, scale, i) => sum + shares[i]! * scale[row]!, 0),
      );
    return {
      scope: "model",
      lossWeights: objective === "losses" ? shares : [1],
      isStrict: false,
      draw: () => maxRank,
      scale: () => scale,
      gradientMask: (b) => firstRows(b, maxRank),
    };
  },
};

/**
 * The prefixes that are trained.
 *
 * @throws {RangeError} If the ranks do not ascend to the adapter's, or the number of weights differs from theirs.
 */
function prefixes(
  { objective, rank: maxRank, ranks, weights }:
    & MatryoshkaParams
    & { readonly rank: number },
): Entry["matryoshka"] {
  const all = ranks ?? Array.from({ length: maxRank }, (_, i) => i + 1);
  const isAscending = all.every((rank, i) =>
    Number.isInteger(rank) && rank > (all[i - 1] ?? 0)
  );
  if (!isAscending || all.at(-1) !== maxRank) {
    throw new RangeError(
      `Ranks ${
        all.join(", ")
      } must ascend and end with the adapter's rank ${maxRank}, since rows beyond the last rank would stay untrained`,
    );
  }
  const each = weights ?? all.map(() => 1);
  if (each.length !== all.length || !each.every((weight) => weight > 0)) {
    throw new RangeError(
      `Expected a positive weight for each of ${all.length} ranks, got ${
        each.join(", ")
      }`,
    );
  }
  return { objective, ranks: [...all], weights: [...each] };
}
