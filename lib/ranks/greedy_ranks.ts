/** A rank for each module, in the engine's order. */
export type RankPerModule = readonly number[];

/** The limits of a search. */
interface RankBudget {
  /** Values that each rank of a module has. */
  readonly costs: readonly number[];
  /** Maximum rank of a module. */
  readonly largest: number;
  /** Maximum number of values of all modules' ranks. */
  readonly total: number;
}

/** A step of {@linkcode greedyRanks}. */
export interface GreedyStep {
  /** Index of the module whose rank was raised; undefined for the first step. */
  readonly raised: number | undefined;
  readonly ranks: RankPerModule;
  readonly loss: number;
}

/** Values that all modules have at these ranks. */
export function valuesAt(
  ranks: RankPerModule,
  costs: RankBudget["costs"],
): number {
  return ranks.reduce((sum, rank, module) => sum + rank * costs[module]!, 0);
}

/** The largest rank for all modules within the budget. */
export function evenRank({ costs, largest, total }: RankBudget): number {
  const least = valuesAt(costs.map(() => 1), costs);
  return Math.min(largest, Math.floor(total / least));
}

/**
 * Chooses ranks greedily: starting with rank 1 in every module, each step
 * raises by one the rank of the module that gives the smallest loss (the first
 * on a tie), until the budget is spent or every module has the maximum rank.
 *
 * @param lossesOf Computes the losses of several choices
 * @returns All steps, the start first
 * @throws {RangeError} If the budget is too small for rank 1 in every module, or a loss is NaN.
 */
export async function greedyRanks(
  { costs, largest, total }: RankBudget,
  lossesOf: (choices: readonly RankPerModule[]) => Promise<readonly number[]>,
): Promise<GreedyStep[]> {
  let ranks: RankPerModule = costs.map(() => 1);
  let spent = valuesAt(ranks, costs);
  if (total < spent) {
    throw new RangeError(
      `A budget of ${total} parameters is too small: rank 1 in each of ${costs.length} modules takes ${spent}`,
    );
  }
  const [loss] = await lossesOf([ranks]);
  const steps: GreedyStep[] = [{ raised: undefined, ranks, loss: loss! }];
  while (true) {
    const open = ranks.flatMap((rank, i) =>
      rank < largest && spent + costs[i]! <= total ? [i] : []
    );
    if (open.length === 0) return steps;
    const choices = open.map((i) => ranks.with(i, ranks[i]! + 1));
    const losses = await lossesOf(choices);
    const best = losses.indexOf(Math.min(...losses));
    if (best < 0) {
      throw new RangeError(
        `A loss is NaN (losses ${
          losses.join(", ")
        }): the adapter's values are not finite`,
      );
    }
    const raised = open[best]!;
    ranks = choices[best]!;
    spent += costs[raised]!;
    steps.push({ raised, ranks, loss: losses[best]! });
  }
}

/** The step with the smallest loss; on a tie the earliest, which has the fewest parameters. */
export function bestStep(steps: readonly GreedyStep[]): GreedyStep {
  return steps.reduce((best, step) => step.loss < best.loss ? step : best);
}
