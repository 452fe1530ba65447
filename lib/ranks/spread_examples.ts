import type { EncodedExamples } from "../data/example.ts";

/** Up to a number of items, evenly spaced. */
export function evenlySpaced<T>(items: readonly T[], most: number): T[] {
  const { length } = items;
  const count = Math.min(most, length);
  return Array.from(
    { length: count },
    (_, i) => items[Math.floor(i * length / count)]!,
  );
}

/** Selects up to a number of examples, evenly spaced. */
export function spreadExamples(
  { ids, types, offsets, index, labels }: Required<EncodedExamples>,
  most: number,
): Required<EncodedExamples> {
  const chosen = evenlySpaced([...labels.keys()], most);
  const taken = (values: Int32Array | Uint8Array) =>
    chosen.flatMap((i) => [...values.subarray(offsets[i], offsets[i + 1])]);
  let end = 0;
  const ends = chosen.map((i) => end += offsets[i + 1]! - offsets[i]!);
  return {
    ids: Int32Array.from(taken(ids)),
    types: Uint8Array.from(taken(types)),
    offsets: Int32Array.from([0, ...ends]),
    index: Int32Array.from(chosen, (i) => index[i]!),
    labels: Float32Array.from(chosen, (i) => labels[i]!),
  };
}

/** Numbers of up to so many examples with different tokens, evenly spaced. */
export function distinctExamples(
  { ids, offsets, index }: EncodedExamples,
  most: number,
): number[] {
  const byTokens = new Map(
    [...index.keys()].map((i) =>
      [ids.subarray(offsets[i], offsets[i + 1]).join(), i] as const
    ),
  );
  return evenlySpaced([...byTokens.values()], most);
}
