import { contrast, type Side } from "./contrast.ts";
import { methodsOf } from "./method_results.ts";
import type { Comparison, Report } from "./report.ts";
import type { Result } from "./result.ts";
import type { Draw, Metric } from "./statistics/bootstrap.ts";
import { summarize } from "./summarize.ts";

export interface CompareOptions {
  /** The function behind the name of a metric. */
  readonly metric: (name: string) => Metric;
  readonly draw: Draw;
  /** Replicates of the bootstrap. */
  readonly replicates: number;
  /** Of all intervals and of the recommendation: 0.95. */
  readonly confidence: number;
  /** How much worse than the best rank a recommended one may be. */
  readonly margin: number;
}

/** Compares what trainings of the same task reach on the same split, and what they cost. */
export function compare(
  results: readonly Result[],
  options: CompareOptions,
): Report {
  const groups = Map.groupBy(
    results,
    ({ task, split }) => JSON.stringify([task, split]),
  );
  return {
    comparisons: [...groups.values()].map((group) =>
      compareOne(group, options)
    ),
  };
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Comparison {
  const [first] = results;
  const metrics = Object.keys(first!.ranks[0]!.metrics);
  checkSameExamples(results, metrics);
  const methods = methodsOf(
    results,
    options.metric(metrics[0]!),
    options.replicates,
    options.draw,
  );
  const sides = methods.map((results, place): Side => ({
    place,
    results,
    summary: summarize(results, metrics, options),
  }));
  const [candidates, baselines] = ["candidate", "baseline"].map((role) =>
    sides.filter(({ summary }) => summary.role === role)
  ) as [Side[], Side[]];
  return {
    task: first!.task,
    title: first!.title,
    split: first!.split,
    examples: first!.labels.length,
    metrics,
    confidence: options.confidence,
    methods: sides.map(({ summary }) => summary),
    contrasts: candidates.flatMap((candidate) =>
      baselines.map((baseline) =>
        contrast(candidate, baseline, metrics[0]!, options.confidence)
      )
    ),
  };
}

/** Bootstraps over examples need the same examples everywhere. */
function checkSameExamples(
  results: readonly Result[],
  metrics: readonly string[],
): void {
  const [{ task, split, labels }] = results as [Result];
  for (const other of results) {
    const same = other.labels.length === labels.length &&
      Array.from(labels).every((label, i) => label === other.labels[i]);
    if (!same) {
      throw new TypeError(
        `The scores of "${task}" on "${split}" are not of the same examples`,
      );
    }
    for (const { rank, metrics: found } of other.ranks) {
      if (String(Object.keys(found)) !== String(metrics)) {
        throw new TypeError(
          `The scores of "${task}" at rank ${rank} have the metrics ${
            Object.keys(found).join(", ")
          }, others have ${metrics.join(", ")}`,
        );
      }
    }
  }
}
