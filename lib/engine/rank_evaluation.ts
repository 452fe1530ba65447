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

/** Options of {@linkcode evaluateRanks}. */
export interface RankEvaluationOptions {
  readonly alpha: number;
  readonly scaling: RankScaling;
  /** Ranks to evaluate, 1-based. */
  readonly ranks: readonly number[];
  readonly batchSize: number;
  /** Called after each batch with the number of examples done. */
  readonly progress?: (examples: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Logits of every example at every rank, in one pass over the data: what does
 * not depend on the rank is computed once.
 *
 * @param values Flat parameters, `[size]`
 * @returns `[ranks, examples, labels]`, flat, examples in their own order
 */
export async function evaluateRanks(
  classifier: Classifier,
  values: Float32Array,
  examples: Examples,
  options: RankEvaluationOptions,
): Promise<Float32Array<ArrayBuffer>> {
  const { layout, config } = classifier;
  const { ranks, alpha, scaling } = options;
  const count = exampleCount(examples);
  const logits = new Float32Array(ranks.length * count * layout.labels);
  const flat = tf.tensor1d(values);
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
  try {
    let done = 0;
    for (const indices of evaluationBatches(examples, options.batchSize)) {
      options.signal?.throwIfAborted();
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
      options.progress?.(done);
    }
    return logits;
  } finally {
    tf.dispose([flat, scale, trained]);
    run.dispose();
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
