/**
 * Mean loss of predictions: cross-entropy of classes, squared error of one
 * output, as training minimizes it.
 *
 * @param logits `[examples, outputs]`
 * @param labels Class numbers or scores, `[examples]`
 */
export function meanLoss(
  logits: Float32Array,
  labels: Float32Array,
  outputs: number,
): number {
  let sum = 0;
  labels.forEach((label, i) => {
    const own = logits.subarray(i * outputs, (i + 1) * outputs);
    if (outputs === 1) {
      sum += (own[0]! - label) ** 2;
      return;
    }
    const largest = Math.max(...own);
    const total = own.reduce((sum, x) => sum + Math.exp(x - largest), 0);
    sum += Math.log(total) + largest - own[label]!;
  });
  return sum / labels.length;
}
