/**
 * What a model predicts: the class with the largest logit (the first of
 * equals), or the score itself if there is one output only.
 *
 * @param logits `[examples, outputs]`
 * @returns `[examples]`
 */
export function predictionsOf(
  logits: Float32Array,
  outputs: number,
): Float32Array {
  if (outputs === 1) return logits;
  const predictions = new Float32Array(logits.length / outputs);
  for (let i = 0; i < predictions.length; i++) {
    let best = 0;
    for (let output = 1; output < outputs; output++) {
      if (logits[i * outputs + output]! > logits[i * outputs + best]!) {
        best = output;
      }
    }
    predictions[i] = best;
  }
  return predictions;
}
