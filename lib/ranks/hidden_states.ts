import * as tf from "@tensorflow/tfjs-core";
import type { EncodedExamples } from "../data/example.ts";
import type { Classifier } from "../engine/models/classifier.ts";
import { TensorPass } from "../engine/models/tensor_pass.ts";
import {
  batchesByLength,
  batchTensors,
  padBatch,
} from "../engine/training/batch.ts";
import { yieldToEvents } from "../engine/training/progress.ts";
import { intrinsicDimension } from "./intrinsic_dimension.ts";

/** How hidden states are computed. */
interface HiddenStateOptions {
  /** Examples per forward pass. */
  readonly batchSize: number;
  readonly signal: AbortSignal;
  /** Called after each batch with the number of examples done. */
  readonly progress: (examples: number) => void;
}

/**
 * Intrinsic dimensions of the hidden states of the embeddings and of each layer,
 * as means over the tokens of each example, without adapters.
 *
 * @param order Numbers of the examples to use, with different tokens, since equal ones are one point
 */
export async function hiddenDimensions(
  classifier: Classifier,
  examples: EncodedExamples,
  order: readonly number[],
  { batchSize, signal, progress }: HiddenStateOptions,
): Promise<number[]> {
  const points: Float32Array[][] = [];
  let done = 0;
  for (const indices of batchesByLength(examples, order, batchSize)) {
    await yieldToEvents();
    signal.throwIfAborted();
    points.push(await meanStates(classifier, examples, indices));
    progress(done += indices.length);
  }
  return points[0]!.map((_, layer) => {
    const all = points.flatMap((of) => [...of[layer]!]);
    return intrinsicDimension(
      Float32Array.from(all),
      all.length / order.length,
    );
  });
}

/** Hidden states of the embeddings and of each layer, means over the tokens of each example: `[examples, hidden]` each. */
async function meanStates(
  classifier: Classifier,
  examples: EncodedExamples,
  indices: readonly number[],
): Promise<Float32Array[]> {
  const batch = padBatch(examples, indices, classifier.model);
  const [sequences, seq] = batch.shape;
  const means = tf.tidy(() => {
    const input = batchTensors(batch);
    const isToken = tf.reshape(input.mask ?? tf.ones(batch.shape), [
      sequences,
      1,
      seq,
    ]);
    const share = tf.div(isToken, tf.sum(isToken, 2, true));
    const found: tf.Tensor[] = [];
    classifier.model.encoder(
      new TensorPass({
        ...classifier,
        parameters: {},
        input,
        ranks: {
          scale: tf.zeros([1, 0]) as tf.Tensor2D,
          gradientMask: tf.zeros([0]) as tf.Tensor1D,
        },
        observe: (x) =>
          found.push(tf.matMul(share, tf.reshape(x, [sequences, seq, -1]))),
      }),
    );
    return found;
  });
  const values = await Promise.all(means.map((it) => it.data<"float32">()));
  tf.dispose(means);
  return values;
}
