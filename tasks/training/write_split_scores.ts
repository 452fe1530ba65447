import type { Classifier } from "../../lib/engine/classifier.ts";
import {
  evaluateRanks,
  evaluationFlops,
  type RankEvaluationOptions,
} from "../../lib/engine/evaluation/rank_evaluation.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { type ScoresInfo, writeScores } from "../artifacts/scores.ts";
import type { TokensInfo } from "../artifacts/tokens.ts";
import type { ScoredSplit } from "./scored_split.ts";

/** What is evaluated: a classifier, its parameters, and how it came to be. */
export interface Evaluated {
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
