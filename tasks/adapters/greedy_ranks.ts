/** A point on the way of {@linkcode greedyRanks}. */
export interface GreedyStep {
  /** Position of the module whose rank was raised; undefined at the start. */
  readonly raised: number | undefined;
  /** Rank of each module. */
  readonly ranks: readonly number[];
  readonly loss: number;
}

/** What may be spent. */
export interface RankBudget {
  readonly modules: number;
  /** Largest rank of a module. */
  readonly largest: number;
  /** Largest sum of all ranks. */
  readonly total: number;
}

/**
 * Raises ranks greedily: from rank 1 everywhere, each move raises by one the
 * module that gives the smallest loss, the first of equals, until the budget is
 * spent or every module has the largest rank.
 *
 * @param lossesOf Losses of several choices of ranks
 * @returns Every point on the way, the start first.
 * @throws {RangeError} If the budget does not suffice for rank 1 everywhere.
 */
export async function greedyRanks(
  { modules, largest, total }: RankBudget,
  lossesOf: (
    choices: readonly (readonly number[])[],
  ) => Promise<readonly number[]>,
): Promise<GreedyStep[]> {
  if (total < modules) {
    throw new RangeError(
      `A sum of ranks of ${total} does not suffice for rank 1 in each of ${modules} modules`,
    );
  }
  let ranks: readonly number[] = Array<number>(modules).fill(1);
  const [loss] = await lossesOf([ranks]);
  const way: GreedyStep[] = [{ raised: undefined, ranks, loss: loss! }];
  for (let spent = modules; spent < total; spent++) {
    const open = ranks.flatMap((rank, i) => rank < largest ? [i] : []);
    if (open.length === 0) break;
    const choices = open.map((i) => ranks.with(i, ranks[i]! + 1));
    const losses = await lossesOf(choices);
    const best = losses.indexOf(Math.min(...losses));
    if (best < 0) {
      throw new RangeError(
        `A loss is not a number (${
          losses.join(", ")
        }): the adapter is not a trained one`,
      );
    }
    ranks = choices[best]!;
    way.push({ raised: open[best], ranks, loss: losses[best]! });
  }
  return way;
}

/** The point of the smallest loss, the earlier and so the cheaper of equals. */
export function bestStep(way: readonly GreedyStep[]): GreedyStep {
  return way.reduce((best, step) => step.loss < best.loss ? step : best);
}

/** The largest rank that all modules may have within the budget, whatever of it a choice spends. */
export function evenRank({ modules, largest, total }: RankBudget): number {
  return Math.min(largest, Math.floor(total / modules));
}
