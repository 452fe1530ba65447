import * as tf from "@tensorflow/tfjs-core";
import { engineLanes } from "../backend.ts";
import { fused, waitFor } from "../trace.ts";
import { engineOps } from "./engine_ops.ts";
import { withGradient } from "./gradient.ts";
import { maxOfRow, sumOfRow } from "./reduce.ts";

/** Maximum logits of a block: 32 MiB in float32. */
const BLOCK_LOGITS = 2 ** 23;

/**
 * The cross-entropy of the logits of a vocabulary with the token that follows
 * each row, in nats, with its own gradient.
 *
 * It is computed in blocks of rows, one for each thread at a time, so that few
 * logits are in memory at once. As in Liger (arXiv 2410.10989), a block gives
 * the gradient of its states at once, up to the factor that its loss has.
 *
 * @param states `[rows, width]`
 * @param table `[vocabulary, width]`
 * @param next The token after each row, int32 `[rows]`
 * @returns `[rows, 1]`
 */
export function tokenLosses(
  states: tf.Tensor2D,
  table: tf.Tensor2D,
  next: tf.Tensor1D,
): tf.Tensor2D {
  const [rows] = states.shape;
  // Powers of two, so that batches of all lengths have blocks of one shape.
  const most = 2 ** Math.floor(Math.log2(BLOCK_LOGITS / table.shape[0]));
  const size = Math.max(1, most);
  if (rows <= size) return block(states, table, next, []);
  const sizes = Array.from(
    { length: Math.ceil(rows / size) },
    (_, i) => Math.min(size, rows - i * size),
  );
  const nexts = next.split<tf.Tensor1D>(sizes);
  const done: tf.Tensor[] = [];
  return tf.concat(
    states.split<tf.Tensor2D>(sizes)
      .map((part, i) => block(part, table, nexts[i]!, done)),
  );
}

/**
 * {@linkcode tokenLosses} of a block.
 *
 * @param done What the blocks so far have computed
 */
function block(
  states: tf.Tensor2D,
  table: tf.Tensor2D,
  next: tf.Tensor1D,
  done: tf.Tensor[],
): tf.Tensor2D {
  const [rows, width] = states.shape;
  const [vocabulary] = table.shape;
  return withGradient({ states, table }, () => {
    const blockStates = waitFor(states, done.at(-engineLanes()));
    const logits = blockStates.matMul(table, false, true);
    const { logSum, p } = softmax({ logits });
    const ofNext = engineOps().gather(table, next);
    // A product, so that it is rounded as the others are.
    const logit = blockStates.reshape([rows, 1, width])
      .matMul(ofNext.reshape([rows, width, 1]));
    const value: tf.Tensor = logSum.sub(logit.reshape([rows, 1]));
    done.push(value);
    const dStates = p.matMul(table).sub(ofNext);
    return { value, dStates, states: blockStates, table, next };
  }, (dy, { dStates, states, table, next }) => ({
    states: dStates.mul(dy),
    table: () => {
      const logits = waitFor(states, dy).matMul(table, false, true);
      const ofNext = engineOps().sumByRow(states.mul(dy), next, vocabulary);
      const weights = softmax({ logits }).p.mul(dy);
      return weights.matMul(states, true, false).sub(ofNext);
    },
  })) as tf.Tensor2D;
}

/** Softmax over the last axis, and the logarithm of its denominator. */
const softmax = fused(({ logits }: { readonly logits: tf.Tensor }) => {
  const max = maxOfRow(logits);
  const weights: tf.Tensor = logits.sub(max).exp();
  const sum = sumOfRow(weights);
  return { p: weights.div(sum), logSum: max.add(sum.log()) };
}, { bfloat16: ["p"] });
