import { costOf } from "./cost.ts";
import { defined, definedInterval } from "./defined.ts";
import { type MethodResults, samplesAt } from "./method_results.ts";
import type { MethodSummary } from "./report.ts";
import type { Result } from "./result.ts";
import { areaUnderCurve, elbow } from "./statistics/curve.ts";
import { recommend } from "./statistics/recommend.ts";
import { deviation, mean, quantile } from "./statistics/sample.ts";

/** Puts what a method reached and cost into figures. */
export function summarize(
  { results, ranks, trainings, replicates }: MethodResults,
  metrics: readonly string[],
  { confidence, margin }: {
    readonly confidence: number;
    readonly margin: number;
  },
): MethodSummary {
  const [{ role, method, variant }] = results as [Result];
  const samples = ranks.map((rank) => samplesAt(results, rank, metrics));
  const scores = samples.map((sample) => mean(sample[metrics[0]!]!));
  const areas = replicates[0]!.map((_, r) =>
    areaUnderCurve({ ranks, scores: replicates.map((values) => values[r]!) })
  );
  return {
    role,
    method,
    variant,
    ranks: ranks.map((rank, i) => ({
      rank,
      seeds: trainings[i]!.seeds,
      metrics: Object.fromEntries(
        metrics.map((name) => [name, describe(samples[i]![name]!)]),
      ),
      interval: definedInterval(replicates[i]!, confidence),
    })),
    area: {
      value: defined(areaUnderCurve({ ranks, scores })),
      interval: definedInterval(areas, confidence),
    },
    elbow: elbow({ ranks, scores }) ?? null,
    recommendation:
      recommend(ranks, scores, replicates, { margin, confidence }) ?? null,
    cost: costOf(results),
  };
}

function describe(values: readonly number[]) {
  return {
    mean: defined(mean(values)),
    median: defined(quantile(values, 0.5)),
    deviation: defined(deviation(values)),
    values: values.map(defined),
  };
}
