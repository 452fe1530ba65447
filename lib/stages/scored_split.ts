import { type ScoresInfo, writeScores } from "../artifacts/scores.ts";
import { readTokens, type TokensInfo } from "../artifacts/tokens.ts";
import type { Examples } from "../engine/batches.ts";
import type { Classifier } from "../engine/classifier.ts";
import {
  evaluateRanks,
  evaluationFlops,
  type RankEvaluationOptions,
} from "../engine/evaluation/rank_evaluation.ts";
import { metricsOf } from "../glue/benchmark.ts";
import { computeMetrics, type MetricName } from "../glue/metrics.ts";
import { predictionsOf } from "../glue/metrics.ts";
import type { Stage } from "../pipeline/task.ts";

/** Metrics of an adapter at one rank, the one to judge by first. */
interface RankScores {
  readonly rank: number;
  readonly metrics: Record<string, number>;
}

/** A split with labels, against which adapters are scored. */
export class ScoredSplit {
  /** Name of the split; of MNLI, whose validation sets are two, the matched one stands for `validation`. */
  readonly name: string;
  readonly examples: Examples;
  /** Metrics by which the task is judged, the main one first. */
  readonly metrics: readonly MetricName[];
  /** Outputs for an example: classes, or one score. */
  readonly outputs: number;

  /**
   * @param folder An artifact of kind `tokens`
   * @throws {Error} If it lacks the split, or the split has no labels.
   */
  constructor(folder: string, info: TokensInfo, asked: string) {
    const matched = `${asked}_matched`;
    this.name = !Object.hasOwn(info.splits, asked) &&
        Object.hasOwn(info.splits, matched)
      ? matched
      : asked;
    const { labels, ...tokens } = readTokens(folder, info, this.name);
    if (labels === undefined) {
      throw new Error(
        `Split "${this.name}" of "${info.task}" has no labels to evaluate against`,
      );
    }
    this.examples = { ...tokens, labels };
    this.metrics = metricsOf(info.task, info.labels);
    this.outputs = info.labels?.length ?? 1;
  }

  /**
   * Scores the logits of all examples at each rank.
   *
   * @param logits `[ranks, examples, outputs]`
   */
  score(ranks: readonly number[], logits: Float32Array): RankScores[] {
    const { labels } = this.examples;
    const size = labels.length * this.outputs;
    return ranks.map((rank, i) => ({
      rank,
      metrics: computeMetrics(
        this.metrics,
        predictionsOf(
          logits.subarray(i * size, (i + 1) * size),
          this.outputs,
        ),
        labels,
      ) as Record<string, number>,
    }));
  }
}

/** What is evaluated: a classifier, its parameters, and how it came to be. */
interface Evaluated {
  readonly classifier: Classifier;
  /** Flat parameters, `[size]` */
  readonly values: Float32Array;
  readonly origin: Pick<
    ScoresInfo,
    "method" | "seed" | "training" | "epoch" | "precision"
  >;
}

/** Evaluates a classifier on a split at all ranks asked for and writes the stage's artifact. */
export async function writeSplitScores(
  stage: Pick<Stage<unknown>, "output" | "progress" | "signal">,
  { classifier, values, origin }: Evaluated,
  { task, labels }: TokensInfo,
  split: ScoredSplit,
  options: RankEvaluationOptions,
): Promise<void> {
  const { examples } = split;
  const count = examples.labels.length;
  const logits = await evaluateRanks(classifier, values, examples, {
    ...options,
    signal: stage.signal,
    progress: (done) => stage.progress(done, count, "examples"),
  });
  await writeScores(stage.output, {
    task,
    labels,
    ...origin,
    split: split.name,
    examples: count,
    tokens: examples.ids.length,
    flops: evaluationFlops(classifier, examples, options),
    ranks: split.score(options.ranks, logits),
  }, { logits, labels: examples.labels });
}
