import * as tf from "@tensorflow/tfjs-core";
import {
  batchesByLength,
  batchTensors,
  exampleCount,
  type Examples,
  padBatch,
} from "../batches.ts";
import { type Classifier, logitsAt } from "../classifier.ts";
import { type ClassifierShape, forwardFlops } from "../flops.ts";
import { groupsOf, type ModelRanks } from "../ranks/module_ranks.ts";
import { paddedLengths } from "../padded_lengths.ts";
import { shardSizes } from "../shards.ts";
import { trace } from "../trace.ts";

/** What an evaluation says while it goes on. */
export interface EvaluationHooks {
  /** Called after each batch with the number of examples done. */
  readonly progress?: (examples: number) => void;
  readonly signal?: AbortSignal;
}

/** Evaluates parameters of one classifier at any ranks, again and again. */
export interface GroupEvaluator {
  /**
   * Logits of every example for every group, in one pass over the data: what
   * does not depend on the ranks is computed once.
   *
   * @param values Flat parameters, `[size]`
   * @param scale Scales of the rows in each group, as in {@linkcode ModelRanks}
   * @returns `[groups, examples, labels]`, flat, examples in their own order
   */
  (
    values: Float32Array,
    scale: ModelRanks["scale"],
    examples: Examples,
    hooks?: EvaluationHooks,
  ): Promise<Float32Array<ArrayBuffer>>;
  /** Frees what the evaluator holds. */
  dispose(): void;
}

/**
 * Makes an evaluator of a classifier.
 *
 * @param batchSize Examples of a forward pass
 * @param passes How often the same examples will be evaluated: it decides how many lengths are prepared
 */
export function groupEvaluator(
  classifier: Classifier,
  batchSize: number,
  passes = 1,
): GroupEvaluator {
  const { layout, config } = classifier;
  const trained = tf.zeros([layout.rank]) as tf.Tensor1D;
  const run = trace(([values, scale, ...input]) => {
    const ranks = { scale: scale as ModelRanks["scale"], trained };
    const groups = groupsOf(ranks);
    const [sequences, seq] = input[0]!.shape as [number, number];
    const sizes = shardSizes(sequences, seq * groups);
    const parts = input.map((tensor) => tf.split(tensor, sizes));
    const logits = sizes.map((_, i) => {
      const [ids, positions, types, mask] = parts.map((part) =>
        part[i] as tf.Tensor2D
      );
      return tf.reshape(
        logitsAt(
          classifier,
          values as tf.Tensor1D,
          { ids: ids!, positions: positions!, types: types!, mask },
          ranks,
        ),
        [groups, -1, layout.labels],
      );
    });
    return [tf.concat(logits, 1)];
  });

  async function evaluate(
    values: Float32Array,
    scale: ModelRanks["scale"],
    examples: Examples,
    { progress, signal }: EvaluationHooks = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    const groups = groupsOf({ scale, trained });
    const count = exampleCount(examples);
    const logits = new Float32Array(groups * count * layout.labels);
    const flat = tf.tensor1d(values);
    try {
      let done = 0;
      const batches = evaluationBatches(classifier, examples, {
        batchSize,
        groups,
        passes,
      });
      for (const { indices, length } of batches) {
        signal?.throwIfAborted();
        const { ids, positions, types, mask } = batchTensors(
          padBatch(examples, indices, config, length),
        );
        const inputs = [ids, positions, types, ...(mask ? [mask] : [])];
        const [result] = run([flat, scale, ...inputs]);
        const batchLogits = await result!.data();
        tf.dispose([...inputs, result!]);
        for (let group = 0; group < groups; group++) {
          indices.forEach((example, row) => {
            const from = (group * indices.length + row) * layout.labels;
            logits.set(
              batchLogits.subarray(from, from + layout.labels),
              (group * count + example) * layout.labels,
            );
          });
        }
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
      trained.dispose();
      run.dispose();
    },
  });
}

/** Some examples that are evaluated together. */
export interface EvaluationBatch {
  /** Their numbers. */
  readonly indices: readonly number[];
  /** Length to which they are padded. */
  readonly length: number;
}

/** The batches of an evaluation. */
export function evaluationBatches(
  classifier: ClassifierShape,
  examples: Examples,
  { batchSize, groups, passes }: {
    readonly batchSize: number;
    readonly groups: number;
    readonly passes: number;
  },
): EvaluationBatch[] {
  const order = Array.from({ length: exampleCount(examples) }, (_, i) => i);
  const batches = batchesByLength(examples, order, batchSize);
  const lengthOf = paddedLengths(
    examples,
    batches,
    passes,
    (shape) => forwardFlops(classifier, shape, groups),
  );
  return batches.map((indices) => ({ indices, length: lengthOf(indices) }));
}
