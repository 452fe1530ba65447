import type { Classifier } from "../../lib/engine/classifier.ts";
import {
  bestEpoch,
  type EpochScores,
} from "../../lib/engine/training/epoch_scores.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
  type RankEvaluationOptions,
  type RankEvaluator,
  rankEvaluator,
} from "../../lib/engine/evaluation/rank_evaluation.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import type { Training } from "../artifacts/training.ts";
import type { ScoredSplit } from "./scored_split.ts";

/** Scores each epoch of a training at all of its ranks, never at a random one. */
export class EpochSelection implements Disposable {
  readonly #split: ScoredSplit;
  readonly #classifier: Classifier;
  readonly #options: RankEvaluationOptions;
  readonly #evaluator: RankEvaluator;
  readonly #stage: Pick<Stage<unknown>, "log" | "signal">;

  constructor(
    split: ScoredSplit,
    classifier: Classifier,
    options: Omit<RankEvaluationOptions, "batchSize">,
    stage: Pick<Stage<unknown>, "log" | "signal">,
  ) {
    this.#split = split;
    this.#classifier = classifier;
    this.#options = {
      ...options,
      batchSize: evaluationBatchSize(options.ranks.length),
    };
    this.#evaluator = rankEvaluator(classifier, this.#options);
    this.#stage = stage;
  }

  /** Scores parameters: the mean over the ranks of the task's main metric. */
  async evaluate(
    values: Float32Array,
  ): Promise<Pick<EpochScores, "score" | "ranks">> {
    const { examples, metrics } = this.#split;
    const { signal, log } = this.#stage;
    const logits = await this.#evaluator(values, examples, { signal });
    const ranks = this.#split.score(this.#options.ranks, logits);
    const [metric] = metrics;
    const main = ranks.map(({ metrics }) => metrics[metric!]!);
    const sum = main.reduce((sum, it) => sum + (Number.isNaN(it) ? 0 : it), 0);
    const score = sum / ranks.length;
    log(
      `${this.#split.name}: ${metric} ${
        main.map((it) => it.toFixed(4)).join(" ")
      } at rank ${this.#options.ranks.join(" ")}, mean ${score.toFixed(4)}`,
    );
    return { score, ranks };
  }

  /** What `training.json` says of it. */
  record(epochs: readonly EpochScores[]): NonNullable<Training["selection"]> {
    const { name, examples, metrics } = this.#split;
    return {
      split: name,
      examples: examples.labels.length,
      metric: metrics[0]!,
      flops: epochs.length *
        evaluationFlops(this.#classifier, examples, this.#options),
      best: bestEpoch(epochs)!.epoch,
      epochs: [...epochs],
    };
  }

  [Symbol.dispose](): void {
    this.#evaluator.dispose();
  }
}
