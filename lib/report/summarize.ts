import { costOf, settingsOf } from "./cost.ts";
import { defined, definedInterval } from "./defined.ts";
import { type MethodResults, samplesAt } from "./method_results.ts";
import { methodOf } from "./methods.ts";
import type { MethodSummary } from "./report.ts";
import type { Result } from "./result.ts";
import { areaUnderCurve, elbow } from "./statistics/curve.ts";
import { recommend } from "./statistics/recommend.ts";
import { deviation, mean, quantile } from "./statistics/sample.ts";

/** Puts what a method reached and cost into figures. */
export function summarize(
  method: MethodResults,
  metrics: readonly string[],
  { confidence, margin }: {
    readonly confidence: number;
    readonly margin: number;
  },
): MethodSummary {
  const { results, ranks, trainings, replicates } = method;
  const [first] = results as [Result];
  const { role } = methodOf(first.method);
  const samples = ranks.map((rank) => samplesAt(results, rank, metrics));
  const scores = samples.map((sample) => mean(sample[metrics[0]!]!));
  const means = replicates.map(({ means }) => means);
  return {
    role,
    method: first.method,
    variant: { ...first.variant },
    ranks: ranks.map((rank, i) => ({
      rank,
      seeds: trainings[i]!.seeds,
      metrics: Object.fromEntries(
        metrics.map((name) => [name, describe(samples[i]![name]!)]),
      ),
      intervals: {
        mean: definedInterval(replicates[i]!.means, confidence),
        median: definedInterval(replicates[i]!.medians, confidence),
      },
    })),
    area: {
      value: defined(areaUnderCurve({ ranks, scores })),
      interval: definedInterval(areasOver(ranks, method), confidence),
    },
    elbow: elbow({ ranks, scores }) ?? null,
    recommendation: role === "bound"
      ? null
      : recommend(ranks, scores, means, { margin, confidence }) ?? null,
    evaluatedIn: [...new Set(results.map(({ precision }) => precision))],
    settings: settingsOf(results),
    cost: costOf(results),
  };
}

/** Area under the rank curve in each replicate, over some of a method's ranks. */
export function areasOver(
  ranks: readonly number[],
  method: MethodResults,
): Float64Array {
  const curves = ranks.map((rank) =>
    method.replicates[method.ranks.indexOf(rank)]!.means
  );
  return curves[0]!.map((_, r) =>
    areaUnderCurve({ ranks, scores: curves.map((means) => means[r]!) })
  );
}

function describe(values: readonly number[]) {
  return {
    mean: defined(mean(values)),
    median: defined(quantile(values, 0.5)),
    deviation: defined(deviation(values)),
    values: values.map(defined),
  };
}
