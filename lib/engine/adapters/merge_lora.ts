/**
 * A projection's weights with a low-rank update added: `W + scale B A`, each
 * value summed in float64 and rounded once.
 *
 * @param weight `W`: `[out, in]`
 * @param a `lora_A`: `[rank, in]`
 * @param b `lora_B`: `[out, rank]`
 * @returns `[out, in]`
 */
export function mergeLora(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  rank: number,
  scale: number,
): Float32Array<ArrayBuffer> {
  const inputs = a.length / rank;
  const outputs = b.length / rank;
  const merged = new Float32Array(weight.length);
  const row = new Float64Array(inputs);
  for (let out = 0; out < outputs; out++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = b[out * rank + k]!;
      const start = k * inputs;
      for (let i = 0; i < inputs; i++) row[i]! += factor * a[start + i]!;
    }
    const start = out * inputs;
    for (let i = 0; i < inputs; i++) {
      merged[start + i] = weight[start + i]! + scale * row[i]!;
    }
  }
  return merged;
}
