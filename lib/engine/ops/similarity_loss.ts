import * as tf from "@tensorflow/tfjs-core";

/**
 * What cosines are multiplied with, as sentence-transformers does by default.
 */
const SCALE = 20;

/** What is subtracted from the logit of a text that is no negative. */
const MASKED = 1e9;

/**
 * CoSENT of pairs with scores: `log(1 + sum exp(20 (cos_i - cos_j)))` over all
 * i and j of which j has the higher score, so that cosines get the order of the
 * scores. It is one value for a batch, times the sum of the weights; pairs
 * without a weight take no part.
 *
 * As sentence-transformers' `CoSENTLoss`. Outputs are `[2 * pairs, width]`,
 * targets `[pairs]`.
 */
export function cosent(
  outputs: tf.Tensor2D,
  targets: tf.Tensor,
  weights: tf.Tensor,
): tf.Scalar {
  const pairs = weights.size;
  const [first, second] = sequencesOf(outputs, pairs);
  const cosines = first.mul(second).sum(-1).mul(SCALE);
  const score = targets.reshape([pairs]);
  const counts = weights.reshape([pairs]).greater(0);
  const isLower = score.reshape([pairs, 1]).less(score.reshape([1, pairs]))
    .logicalAnd(counts.reshape([pairs, 1]))
    .logicalAnd(counts.reshape([1, pairs]));
  const differences = cosines.reshape([pairs, 1])
    .sub(cosines.reshape([1, pairs]))
    .sub(tf.sub(1, isLower.cast("float32")).mul(MASKED));
  const terms = tf.concat([tf.zeros([1]), differences.reshape([-1])]);
  return tf.logSumExp(terms).mul(weights.sum());
}

/**
 * Cross-entropy of finding the positive of each anchor among the positives and
 * hard negatives of the whole batch, by their cosines times 20. A text that
 * some row of the batch has as a positive of an equal anchor is no negative of
 * it, nor is the anchor's own text.
 *
 * As sentence-transformers' `MultipleNegativesRankingLoss`, which leaves equal
 * texts to a sampler of batches. Outputs are `[examples * sequences, width]`:
 * the anchor, its positive, then its hard negatives. Targets are
 * `[examples, sequences]`: a number for each text, the same for equal texts.
 */
export function multipleNegativesRanking(
  outputs: tf.Tensor2D,
  targets: tf.Tensor,
  weights: tf.Tensor,
): tf.Scalar {
  const { logits, positive } = rankingLogits(outputs, targets, weights.size);
  return tf.logSumExp(logits, 1).sub(positive).mul(weights.reshape([-1])).sum();
}

/**
 * The mean of {@linkcode multipleNegativesRanking} and of finding the anchor of
 * each positive among the anchors of the batch.
 *
 * As sentence-transformers has it with the directions `query_to_doc` and
 * `doc_to_query` and the partition mode `per_direction`.
 */
export function multipleNegativesSymmetricRanking(
  outputs: tf.Tensor2D,
  targets: tf.Tensor,
  weights: tf.Tensor,
): tf.Scalar {
  const examples = weights.size;
  const { logits, positive } = rankingLogits(outputs, targets, examples);
  const backward = logits.slice([0, 0], [examples, examples]);
  const normalizer = tf.logSumExp(logits, 1).add(tf.logSumExp(backward, 0))
    .mul(0.5);
  return normalizer.sub(positive).mul(weights.reshape([-1])).sum();
}

/**
 * @returns Logits of the texts for each anchor,
 * `[examples, examples * (sequences - 1)]`, all positives first, and those of
 * the anchors' own positives, `[examples]`
 */
function rankingLogits(
  outputs: tf.Tensor2D,
  targets: tf.Tensor,
  examples: number,
): { readonly logits: tf.Tensor2D; readonly positive: tf.Tensor1D } {
  const [anchors, ...texts] = sequencesOf(outputs, examples);
  const cosines = anchors!.matMul<tf.Tensor2D>(tf.concat(texts), false, true)
    .mul<tf.Tensor2D>(SCALE);
  const diagonal = tf.eye(examples);
  const positive = cosines.slice([0, 0], [examples, examples]).mul(diagonal)
    .sum<tf.Tensor1D>(1);

  const sequences = texts.length + 1;
  const numbers = targets.reshape([examples, sequences]).transpose();
  const anchor = numbers.slice([0, 0], [1, examples]);
  const positiveText = numbers.slice([1, 0], [1, examples]);
  const text = numbers.slice([1, 0], [sequences - 1, examples])
    .reshape([1, -1]);
  const equalAnchors = anchor.reshape([examples, 1]).equal(anchor);
  const equalPositives = positiveText.reshape([examples, 1]).equal(text);
  // A text is a positive of an anchor if a row of an equal anchor has it.
  const rows = equalAnchors.cast("float32")
    .matMul(equalPositives.cast("float32"));
  const isPositive = rows.greater(0)
    .logicalOr(anchor.reshape([examples, 1]).equal(text));
  const ofNegatives = tf.zeros([examples, examples * (sequences - 2)]);
  const isPaired = tf.concat([diagonal, ofNegatives], 1);
  const masked = tf.relu(isPositive.cast("float32").sub(isPaired));
  return { logits: cosines.sub(masked.mul(MASKED)), positive };
}

/**
 * Outputs of norm 1, by the number of the sequence in its example, each
 * `[examples, width]`.
 */
function sequencesOf(
  outputs: tf.Tensor2D,
  examples: number,
): [tf.Tensor2D, tf.Tensor2D, ...tf.Tensor2D[]] {
  const [rows, width] = outputs.shape;
  const squares = outputs.square().sum(-1, true);
  const unit = outputs.div(squares.maximum(1e-24).sqrt());
  return unit.reshape([examples, rows / examples, width]).unstack(1) as [
    tf.Tensor2D,
    tf.Tensor2D,
    ...tf.Tensor2D[],
  ];
}
