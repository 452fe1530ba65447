import * as z from "zod";
import { firstRows, rankScale } from "../adapters/scale.ts";
import type { Schedule } from "./schedule.ts";

const settings = {
  objective: z.enum(["losses", "outputs"]).default("losses").describe(
    "What is averaged over the ranks: losses, at one pass per rank and step; or outputs, the updates that the ranks add to a module, with one loss as in MatryoshkaLoRA (arXiv 2605.07850)",
  ),
  ranks: z.array(z.int().min(1)).min(1).optional().describe(
    "Ranks that every step trains, in ascending order up to rank; default: all from 1",
  ),
};

/**
 * Trains an adapter at several ranks ("prefixes") in every step.
 *
 * `losses` computes every sequence at each rank and averages the losses.
 * `outputs` averages what the prefixes add to a linear module: `A P B` with a
 * fixed diagonal P, the mean of the prefixes' scales, and one loss; a step
 * costs as much as one of LoRA.
 *
 * The public code of MatryoshkaLoRA has both the sum of the scales (`diag`) and
 * their mean (`binary`). The sum over n ranks trains an update n times as large
 * as that of any prefix in use: alpha / b over ranks 1 to 8 makes it 2.7 times
 * the scale of rank 1 on row 1 and 22 times that of rank 8.
 */
export const matryoshka: Schedule<"matryoshka", typeof settings> = {
  name: "matryoshka",
  title: "Matryoshka",
  role: "candidate",
  scaling: "rank",
  settings,
  lowestRank: ({ ranks = [1] }) => Math.min(...ranks),
  objective({ objective, ranks: chosen }, adapter) {
    const { rank: maxRank } = adapter;
    const ranks = chosen ?? Array.from({ length: maxRank }, (_, i) => i + 1);
    checkPrefixes(ranks, maxRank);
    const scales = ranks.map((rank) => rankScale(rank, adapter));
    const share = 1 / ranks.length;
    const scale = objective === "losses"
      ? Float32Array.from(scales.flatMap((scale) => [...scale]))
      : Float32Array.from(
        { length: maxRank },
        (_, row) => scales.reduce((sum, scale) => sum + share * scale[row]!, 0),
      );
    return {
      lossWeights: objective === "losses" ? ranks.map(() => share) : [1],
      draw: () => [maxRank],
      scale: () => scale,
      gradientMask: (b) => firstRows(b, maxRank),
    };
  },
};

function checkPrefixes(ranks: readonly number[], maxRank: number): void {
  const isAscending = ranks.every((rank, i) => rank > (ranks[i - 1] ?? 0));
  if (isAscending && ranks.at(-1) === maxRank) return;
  throw new RangeError(
    `Ranks ${
      ranks.join(", ")
    } must ascend and end with the adapter's rank ${maxRank}, since rows beyond the last rank would stay untrained`,
  );
}
