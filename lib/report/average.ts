import type { Side } from "./contrast.ts";
import { defined, definedInterval } from "./defined.ts";
import { methodKey } from "./methods.ts";
import type { Average, Comparison } from "./report.ts";
import { mean } from "./statistics/sample.ts";

/** A comparison, and the replicates behind it. */
export interface Compared {
  readonly comparison: Comparison;
  readonly sides: readonly Side[];
}

/**
 * Averages of the main metric over tasks, as the papers print them: for each
 * split and choice of epoch with more than one task, the methods that all of
 * the tasks have, at the ranks that all of them have. Of MNLI, the matched set
 * counts.
 *
 * A replicate of an average is the mean of one of each task; the tasks'
 * bootstraps are independent of each other.
 */
export function averagesOf(
  compared: readonly Compared[],
  confidence: number,
): Average[] {
  const groups = Map.groupBy(
    compared.filter(({ comparison }) =>
      !comparison.split.endsWith("_mismatched")
    ),
    ({ comparison: { split, epoch } }) =>
      JSON.stringify([split.replace(/_matched$/, ""), epoch]),
  );
  return [...groups].flatMap(([key, group]) => {
    if (group.length < 2) return [];
    const [split, epoch] = JSON.parse(key) as [string, Average["epoch"]];
    return [{
      split,
      epoch,
      tasks: group.map(({ comparison: { task, title, metrics } }) => ({
        task,
        title,
        metric: metrics[0]!,
      })),
      confidence,
      methods: averageMethods(group, confidence),
    }];
  });
}

function averageMethods(
  [first, ...others]: readonly Compared[],
  confidence: number,
): Average["methods"] {
  return first!.sides.flatMap((side) => {
    const same = others.map(({ sides }) =>
      sides.find((other) =>
        methodKey(other.summary) === methodKey(side.summary)
      )
    );
    if (same.includes(undefined)) return [];
    const all = [side, ...same as Side[]];
    const ranks = side.results.ranks.filter((rank) =>
      all.every(({ results }) => results.ranks.includes(rank))
    );
    const { role, method, variant } = side.summary;
    return ranks.length === 0 ? [] : [{
      role,
      method,
      variant,
      ranks: ranks.map((rank) => averageAt(all, rank, confidence)),
    }];
  });
}

function averageAt(sides: readonly Side[], rank: number, confidence: number) {
  const places = sides.map(({ results }) => results.ranks.indexOf(rank));
  const scores = sides.map(({ scores }, i) => scores[places[i]!]!);
  const replicates = sides.map(({ results }, i) =>
    results.replicates[places[i]!]!.means
  );
  const averages = replicates[0]!.map((_, r) =>
    mean(replicates.map((values) => values[r]!))
  );
  return {
    rank,
    mean: defined(mean(scores)),
    interval: definedInterval(averages, confidence),
  };
}
