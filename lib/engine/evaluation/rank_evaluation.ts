import * as tf from "@tensorflow/tfjs-core";
import type { Examples } from "../batches.ts";
import type { Classifier } from "../classifier.ts";
import { type ClassifierShape, forwardFlops } from "../flops.ts";
import {
  evaluationBatches,
  type EvaluationHooks,
  groupEvaluator,
} from "./group_evaluation.ts";
import { rankScale, type RankScaling } from "../ranks/rank_vectors.ts";

/** How adapters are evaluated. */
export interface RankEvaluationOptions {
  readonly alpha: number;
  readonly scaling: RankScaling;
  /** Ranks to evaluate, 1-based. */
  readonly ranks: readonly number[];
  readonly batchSize: number;
  /** How often the same examples will be evaluated, by default once. */
  readonly passes?: number;
}

/** Examples of a forward pass at so many ranks, by default: at most 32, and 256 sequences at all ranks together. */
export function evaluationBatchSize(ranks: number): number {
  return Math.max(1, Math.min(32, Math.floor(256 / ranks)));
}

/** Evaluates parameters of one classifier at the same ranks again and again. */
export interface RankEvaluator {
  /**
   * Logits of every example at every rank, in one pass over the data: what
   * does not depend on the rank is computed once.
   *
   * @param values Flat parameters, `[size]`
   * @returns `[ranks, examples, labels]`, flat, examples in their own order
   */
  (
    values: Float32Array,
    examples: Examples,
    hooks?: EvaluationHooks,
  ): Promise<Float32Array<ArrayBuffer>>;
  /** Frees what the evaluator holds. */
  dispose(): void;
}

/** Makes an evaluator of a classifier at some ranks. */
export function rankEvaluator(
  classifier: Classifier,
  { alpha, scaling, ranks, batchSize, passes }: RankEvaluationOptions,
): RankEvaluator {
  const { layout } = classifier;
  const scale = tf.tensor2d(
    ranks.flatMap((rank) => [
      ...rankScale(rank, alpha, layout.rank, scaling),
    ]),
    [ranks.length, layout.rank],
  );
  const evaluate = groupEvaluator(classifier, batchSize, passes);
  return Object.assign(
    (values: Float32Array, examples: Examples, hooks?: EvaluationHooks) =>
      evaluate(values, scale, examples, hooks),
    {
      dispose() {
        scale.dispose();
        evaluate.dispose();
      },
    },
  );
}

/** Evaluates parameters once, as a {@linkcode RankEvaluator} does. */
export async function evaluateRanks(
  classifier: Classifier,
  values: Float32Array,
  examples: Examples,
  options: RankEvaluationOptions & EvaluationHooks,
): Promise<Float32Array<ArrayBuffer>> {
  const evaluate = rankEvaluator(classifier, options);
  try {
    return await evaluate(values, examples, options);
  } finally {
    evaluate.dispose();
  }
}

/** Floating-point operations of {@linkcode evaluateRanks}, counted like those of {@linkcode forwardFlops}. */
export function evaluationFlops(
  classifier: ClassifierShape,
  examples: Examples,
  { ranks, batchSize, passes = 1 }: Pick<
    RankEvaluationOptions,
    "ranks" | "batchSize" | "passes"
  >,
): number {
  const groups = ranks.length;
  return evaluationBatches(classifier, examples, { batchSize, groups, passes })
    .reduce(
      (sum, { indices, length }) =>
        sum + forwardFlops(classifier, [indices.length, length], groups),
      0,
    );
}
