import { averagesOf, type Compared } from "./average.ts";
import { comparable, contrast, type Side } from "./contrast.ts";
import { defined } from "./defined.ts";
import { methodsOf, samplesAt } from "./method_results.ts";
import type { Role } from "./methods.ts";
import type { Comparison, Report } from "./report.ts";
import type { Result } from "./result.ts";
import type { Draw, Metric } from "./statistics/bootstrap.ts";
import { mean } from "./statistics/sample.ts";
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
): Pick<Report, "comparisons" | "averages"> {
  const groups = Map.groupBy(
    results,
    ({ task, split, epoch }) => JSON.stringify([task, split, epoch]),
  );
  const compared = [...groups.values()].map((group) =>
    compareOne(group, options)
  );
  return {
    comparisons: compared.map(({ comparison }) => comparison),
    averages: averagesOf(compared, options.confidence),
  };
}

function compareOne(
  results: readonly Result[],
  options: CompareOptions,
): Compared {
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
    scores: results.ranks.map((rank) =>
      mean(samplesAt(results.results, rank, [metrics[0]!])[metrics[0]!]!)
    ),
  }));
  const withRole = (role: Role) =>
    sides.filter(({ summary }) => summary.role === role);
  const comparison: Comparison = {
    task: first!.task,
    title: first!.title,
    split: first!.split,
    epoch: first!.epoch,
    examples: first!.labels.length,
    metrics,
    majority: majorityOf(first!, metrics, options),
    confidence: options.confidence,
    methods: sides.map(({ summary }) => summary),
    contrasts: withRole("candidate").flatMap((candidate) =>
      withRole("baseline")
        .filter((baseline) => comparable(candidate, baseline))
        .map((baseline) =>
          contrast(candidate, baseline, metrics[0]!, options.confidence)
        )
    ),
  };
  return { comparison, sides };
}

/** What always answering with the most frequent class reaches. */
function majorityOf(
  { labels, classes }: Result,
  metrics: readonly string[],
  { metric }: CompareOptions,
): Comparison["majority"] {
  if (!classes) return null;
  const counts = Map.groupBy(Array.from(labels), (label) => label);
  const [[label]] = [...counts].sort((a, b) =>
    b[1].length - a[1].length || a[0] - b[0]
  ) as [[number, number[]]];
  const constant = new Float64Array(labels.length).fill(label);
  return Object.fromEntries(
    metrics.map((name) => [name, defined(metric(name)(constant, labels))]),
  );
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
