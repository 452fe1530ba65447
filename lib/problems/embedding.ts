/** What problems have in common that are solved by embeddings of texts. */
import type { Example } from "../data/example.ts";
import type { ProblemKind } from "./problem.ts";

/** What these problems are in models and in other libraries. */
export const EMBEDDING = {
  head: "embedding",
  autoClass: "FeatureExtraction",
  peftTask: "FEATURE_EXTRACTION",
  hubTask: { type: "sentence-similarity", name: "Sentence Similarity" },
} as const satisfies Partial<ProblemKind>;

/** What these problems have whatever their texts are. */
export const EMBEDDED = {
  classes: [],
  outputs: 1,
  matches: () => true,
  targetsOf: (outputs: Float32Array) => outputs,
  predictions: (outputs: Float32Array) => outputs,
  toExample: (text: Pick<Example, "text" | "pair">, index: number) => (
    { ...text, index }
  ),
  prediction: () => {
    throw new TypeError(
      "An embedding is no prediction for a text: evaluate the adapter on texts that belong together",
    );
  },
  config: {},
  pythonOptions: "",
} as const;

/**
 * Embeddings of norm 1, so that a product is a cosine; an embedding of zeros
 * stays as it is.
 *
 * @param count Number of embeddings
 * @returns A row for each
 * @throws {RangeError} If a value is infinite or NaN
 */
export function unitRows(
  values: Float32Array,
  count: number,
): readonly Float64Array[] {
  const width = values.length / count;
  return Array.from({ length: count }, (_, row) => {
    const embedding = Float64Array.from(
      values.subarray(row * width, (row + 1) * width),
    );
    const norm = Math.sqrt(product(embedding, embedding));
    if (!Number.isFinite(norm)) {
      throw new RangeError(
        `A value of an embedding is ${
          embedding.find((it) => !Number.isFinite(it)) ?? "too large"
        }: train with a lower learning rate`,
      );
    }
    return norm === 0 ? embedding : embedding.map((it) => it / norm);
  });
}

/** The scalar product of two embeddings. */
export function product(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
