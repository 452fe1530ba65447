import { firstRows, rankScale } from "../adapters/scale.ts";
import type { RankObjective, Schedule } from "./schedule.ts";

/**
 * Every step trains all rows: LoRA (arXiv 2106.09685) at one rank, the
 * baseline.
 */
export const fixed: Schedule<"lora", Record<never, never>> = {
  name: "lora",
  title: "LoRA",
  role: "baseline",
  scaling: "maximum",
  settings: {},
  lowestRank: (_, rank) => rank,
  objective: (_, adapter) => ({
    lossWeights: [1],
    draw: () => [adapter.rank],
    scale: (b) => rankScale(b, adapter),
    gradientMask: (b) => firstRows(b, adapter.rank),
  }),
};

/** The objective of a training without adapters: rank 0. */
export const WITHOUT_ADAPTERS: RankObjective = fixed.objective({}, {
  rank: 0,
  alpha: 1,
  scaling: fixed.scaling,
});
