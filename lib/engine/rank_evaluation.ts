import * as tf from "@tensorflow/tfjs-core";
import {
  batchesByLength,
  batchTensors,
  exampleCount,
  type Examples,
  padBatch,
  paddedLength,
} from "./batches.ts";
import { type Classifier, logitsAt } from "./classifier.ts";
import { type ClassifierShape, forwardFlops } from "./flops.ts";
import { rankScale, type RankScaling } from "./rank_vectors.ts";
import { trace } from "./trace.ts";

/** How adapters are evaluated. */
export interface RankEvaluationOptions {
  readonly alpha: number;
  readonly scaling: RankScaling;
  /** Ranks to evaluate, 1-based. */
  readonly ranks: readonly number[];
  readonly batchSize: number;
}

/** Examples of a forward pass at so many ranks, by default: at most 32, and 256 sequences at all ranks together. */
export function evaluationBatchSize(ranks: number): number {
  return Math.max(1, Math.min(32, Math.floor(256 / ranks)));
}

/** What an evaluation says while it goes on. */
export interface EvaluationHooks {
  /** Called after each batch with the number of examples done. */
  readonly progress?: (examples: number) => void;
  readonly signal?: AbortSignal;
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
  { alpha, scaling, ranks, batchSize }: RankEvaluationOptions,
): RankEvaluator {
  const { layout, config } = classifier;
  const scale = tf.tensor2d(
    ranks.flatMap((rank) => [
      ...rankScale(rank, alpha, layout.rank, scaling),
    ]),
    [ranks.length, layout.rank],
  );
  const trained = tf.zeros([layout.rank]) as tf.Tensor1D;
  const run = trace(([values, scale, ids, positions, types, mask]) => [
    logitsAt(
      classifier,
      values as tf.Tensor1D,
      {
        ids: ids as tf.Tensor2D,
        positions: positions as tf.Tensor2D,
        types: types as tf.Tensor2D,
        mask: mask as tf.Tensor2D | undefined,
      },
      { scale: scale as tf.Tensor2D, trained },
    ),
  ]);

  async function evaluate(
    values: Float32Array,
    examples: Examples,
    { progress, signal }: EvaluationHooks = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    const count = exampleCount(examples);
    const logits = new Float32Array(ranks.length * count * layout.labels);
    const flat = tf.tensor1d(values);
    try {
      let done = 0;
      for (const indices of evaluationBatches(examples, batchSize)) {
        signal?.throwIfAborted();
        const { ids, positions, types, mask } = batchTensors(
          padBatch(examples, indices, config),
        );
        const inputs = [ids, positions, types, ...(mask ? [mask] : [])];
        const [result] = run([flat, scale, ...inputs]);
        const batchLogits = await result!.data();
        tf.dispose([...inputs, result!]);
        ranks.forEach((_, r) =>
          indices.forEach((example, row) => {
            const from = (r * indices.length + row) * layout.labels;
            logits.set(
              batchLogits.subarray(from, from + layout.labels),
              (r * count + example) * layout.labels,
            );
          })
        );
        done += indices.length;
        progress?.(done);
      }
      return logits;
    } finally {
      flat.dispose();
    }
  }
  return Object.assign(evaluate, {
    dispose() {
      tf.dispose([scale, trained]);
      run.dispose();
    },
  });
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
  { ranks, batchSize }: Pick<RankEvaluationOptions, "ranks" | "batchSize">,
): number {
  return evaluationBatches(examples, batchSize).reduce(
    (sum, indices) =>
      sum + forwardFlops(
        classifier,
        [indices.length, paddedLength(examples, indices)],
        ranks.length,
      ),
    0,
  );
}

function evaluationBatches(examples: Examples, batchSize: number): number[][] {
  const order = Array.from({ length: exampleCount(examples) }, (_, i) => i);
  return batchesByLength(examples, order, batchSize);
}
