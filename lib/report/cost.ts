import type { MethodSummary } from "./report.ts";
import type { Result } from "./result.ts";
import { mean } from "./statistics/sample.ts";

/**
 * What a method's sweep costs, from the measured times of its stages alone.
 *
 * A sweep is one training for each set of ranks that is trained together: one
 * for DyLoRA, one a rank for LoRA. Seeds repeat a sweep, so their mean is taken.
 */
export function costOf(results: readonly Result[]): MethodSummary["cost"] {
  const repeats = [
    ...Map.groupBy(
      results,
      ({ ranks }) => ranks.map(({ rank }) => rank).join(),
    ).values(),
  ];
  const sweep = (cost: (result: Result) => number) =>
    repeats.reduce((sum, group) => sum + mean(group.map(cost)), 0);
  const trainingSeconds = sweep(({ training }) => training.seconds);
  const evaluationSeconds = sweep((result) => result.evaluationSeconds);
  return {
    ranks: [
      ...new Set(
        results.flatMap(({ ranks }) => ranks.map(({ rank }) => rank)),
      ),
    ].sort((a, b) => a - b),
    trainings: repeats.length,
    stepSeconds: mean(results.map(({ training }) => training.stepSeconds)),
    steps: sweep(({ training }) => training.steps),
    examples: sweep(({ training }) => training.examples),
    trainingSeconds,
    evaluationSeconds,
    sweepSeconds: trainingSeconds + evaluationSeconds,
  };
}
