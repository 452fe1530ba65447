import { comparable, type Side } from "./contrast.ts";
import { defined, definedInterval } from "./defined.ts";
import { methodKey, type Role } from "./methods.ts";
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
 * counts. Where there is no such method, there is no average.
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
    const averaged = averageMethods(group, confidence);
    return averaged.methods.length === 0 ? [] : [{
      split,
      epoch,
      tasks: group.map(({ comparison: { task, title, metrics } }) => ({
        task,
        title,
        metric: metrics[0]!,
      })),
      confidence,
      ...averaged,
    }];
  });
}

/** A method on every task, and the ranks that it has on all of them. */
interface Averaged {
  /** One for each task, in their order. */
  readonly sides: readonly Side[];
  readonly ranks: readonly number[];
}

function averageMethods(
  [first, ...others]: readonly Compared[],
  confidence: number,
): Pick<Average, "methods" | "contrasts"> {
  const averaged = first!.sides.flatMap((side): Averaged[] => {
    const same = others.map(({ sides }) =>
      sides.find((other) =>
        methodKey(other.summary) === methodKey(side.summary)
      )
    );
    if (same.includes(undefined)) return [];
    const sides = [side, ...same as Side[]];
    const ranks = side.results.ranks.filter((rank) =>
      sides.every(({ results }) => results.ranks.includes(rank))
    );
    return ranks.length === 0 ? [] : [{ sides, ranks }];
  });
  return {
    methods: averaged.map(({ sides, ranks }) => {
      const { role, method, variant } = sides[0]!.summary;
      return {
        role,
        method,
        variant,
        ranks: ranks.map((rank) => {
          const { score, replicates } = averageAt(sides, rank);
          return {
            rank,
            mean: defined(score),
            interval: definedInterval(replicates, confidence),
          };
        }),
      };
    }),
    contrasts: contrastsOf(averaged, confidence),
  };
}

/** Tasks are paired as within each of them, so the difference has an interval of its own. */
function contrastsOf(
  averaged: readonly Averaged[],
  confidence: number,
): Average["contrasts"] {
  const withRole = (role: Role) =>
    averaged.filter(({ sides }) => sides[0]!.summary.role === role);
  return withRole("candidate").flatMap((candidate) =>
    withRole("baseline")
      .filter((baseline) => comparable(candidate.sides[0]!, baseline.sides[0]!))
      .map((baseline) => ({
        candidate: averaged.indexOf(candidate),
        baseline: averaged.indexOf(baseline),
        ranks: candidate.ranks
          .filter((rank) => baseline.ranks.includes(rank))
          .map((rank) => {
            const ours = averageAt(candidate.sides, rank);
            const theirs = averageAt(baseline.sides, rank);
            return {
              rank,
              difference: defined(ours.score - theirs.score),
              interval: definedInterval(
                ours.replicates.map((it, r) => it - theirs.replicates[r]!),
                confidence,
              ),
            };
          }),
      }))
  );
}

/** Mean over tasks of the score at a rank, and of its replicates. */
function averageAt(sides: readonly Side[], rank: number) {
  const places = sides.map(({ results }) => results.ranks.indexOf(rank));
  const replicates = sides.map(({ results }, i) =>
    results.replicates[places[i]!]!.means
  );
  return {
    score: mean(sides.map(({ scores }, i) => scores[places[i]!]!)),
    replicates: replicates[0]!.map((_, r) =>
      mean(replicates.map((values) => values[r]!))
    ),
  };
}
