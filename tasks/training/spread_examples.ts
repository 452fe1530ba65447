import type { Examples } from "../../lib/engine/batches.ts";

/** At most so many examples, spread evenly over all. */
export function spreadExamples(
  { ids, types, offsets, labels }: Examples,
  most: number,
): Examples {
  const count = Math.min(most, labels.length);
  const chosen = Array.from(
    { length: count },
    (_, i) => Math.floor(i * labels.length / count),
  );
  const spans = chosen.map((i) => [offsets[i]!, offsets[i + 1]!] as const);
  const ends = [0];
  for (const [from, to] of spans) ends.push(ends.at(-1)! + to - from);
  return {
    ids: Int32Array.from(spans.flatMap(([a, b]) => [...ids.subarray(a, b)])),
    types: Uint8Array.from(
      spans.flatMap(([a, b]) => [...types.subarray(a, b)]),
    ),
    offsets: Int32Array.from(ends),
    labels: Float32Array.from(chosen, (i) => labels[i]!),
  };
}
