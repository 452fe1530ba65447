import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import reference from "../../fixtures/references/similarity.json" with {
  type: "json",
};
import type { SequenceEmbeddings } from "../../lib/problems/problem.ts";
import { problemOf, scoresOf } from "../../lib/problems/registry.ts";

const retrieval = problemOf({ problem: "retrieval", labels: null });
const similarity = problemOf({ problem: "similarity", labels: null });

/** Embeddings of norm 2 at some angles, one for each sequence. */
function atAngles(angles: readonly number[]): SequenceEmbeddings {
  return {
    values: Float32Array.from(
      angles.flatMap((it) => [2 * Math.cos(it), 2 * Math.sin(it)]),
    ),
    numbers: Int32Array.from(angles, (_, i) => i),
  };
}

Deno.test("pairs with scores are predicted by their cosines, and scored by the order of these", () => {
  const angles = [0, 0.1, 1, 1.4, 0.5, 2, 0, 3];
  const predictions = similarity.fromEmbeddings!(atAngles(angles), []);
  const expected = [0.1, 0.4, 1.5, 3].map(Math.cos);
  for (const [i, cosine] of expected.entries()) {
    assertAlmostEquals(predictions[i]!, cosine, 1e-6);
  }
  const scores = scoresOf(
    similarity,
    ["spearman_cosine", "pearson_cosine"],
    predictions,
    [5, 4, 1, 0.5],
  );
  assertAlmostEquals(scores.spearman_cosine!, 1, 1e-12);
});

/** Numbers of the queries and answers of examples, and the angle of each text. */
const TARGETS = [0, 1, 0, 2, 3, 4, 0, 1, 5, 4];
const ANGLE: Readonly<Record<number, number>> = {
  0: 0,
  1: 0.1,
  2: 1,
  3: 0.6,
  4: 0.3,
  5: 2,
};

Deno.test("an answer has its position in the ranking of its query among the answers of all, each counted once", () => {
  const angles = TARGETS.map((text) => ANGLE[text]!);
  const predictions = retrieval.fromEmbeddings!(atAngles(angles), TARGETS);
  assertEquals([...predictions], [
    // By query 0: texts 1, 4, 2. Text 4 is the first that is none of its
    // answers; example 2 has it first.
    ...[1, 2],
    ...[3, 2],
    // By query 3: texts 4, 2, 1.
    ...[1, 1],
    ...[1, 2],
    // By query 5: texts 2, 4, 1.
    ...[2, 1],
  ]);
  assertEquals(retrieval.units(TARGETS), 3);
  const score = (metric: string, queries?: number[]) =>
    retrieval.scorer(metric, TARGETS)(queries)(predictions);
  assertAlmostEquals(score("accuracy@1"), 2 / 3, 1e-12);
  assertAlmostEquals(score("mrr@10"), (1 + 1 + 1 / 2) / 3, 1e-12);
  assertAlmostEquals(
    score("map@100"),
    ((1 + 2 / 3) / 2 + 1 + 1 / 2) / 3,
    1e-12,
  );
  assertAlmostEquals(score("accuracy@1", [2, 2, 0]), 1 / 3, 1e-12);
});

Deno.test("answers are ranked among further texts of a corpus, each different one once", () => {
  const targets = [0, 1, 2, 3];
  // Two queries with their answers, then three texts of which one is an answer.
  const { values } = atAngles([0, 0.5, 2, 2.1, 0.2, 0.5, 0.3]);
  const predictions = retrieval.fromEmbeddings!(
    { values, numbers: Int32Array.of(0, 1, 2, 3, 4, 1, 6, 4) },
    targets,
  );
  // Texts of the corpus are numbered after the two examples.
  assertEquals([...predictions], [3, 2, 1, 0]);
});

Deno.test("a corpus of answers to one query has nothing to rank above them", () => {
  const targets = [0, 1, 0, 2];
  const predictions = retrieval.fromEmbeddings!(
    atAngles([0, 1, 0, 0.5]),
    targets,
  );
  assertEquals([...predictions], [2, -1, 1, -1]);
});

Deno.test("fromEmbeddings() refuses an embedding that is NaN, with a remedy", () => {
  for (const problem of [similarity, retrieval]) {
    const embeddings = atAngles([0, NaN]);
    assertThrows(
      () => problem.fromEmbeddings!(embeddings, [0, 1]),
      RangeError,
      "A value of an embedding is NaN: train with a lower learning rate",
    );
  }
});

Deno.test("an embedding of zeros has a cosine of 0", () => {
  const embeddings = {
    values: Float32Array.of(0, 0, 1, 0),
    numbers: Int32Array.of(0, 1),
  };
  assertEquals([...similarity.fromEmbeddings!(embeddings, [])], [0]);
});

Deno.test("rankings of embeddings have the metrics of sentence-transformers' InformationRetrievalEvaluator to 1e-9", () => {
  const { queries, embeddings, answers, metrics } = reference.evaluated;
  const targets = queries.flatMap((query, i) => [query, embeddings.length + i]);
  const predictions = retrieval.fromEmbeddings!({
    values: Float32Array.from([...embeddings, ...answers].flat()),
    numbers: Int32Array.from(targets),
  }, targets);
  for (const [metric, expected] of Object.entries(metrics)) {
    const score = retrieval.scorer(metric, targets)()(predictions);
    assertAlmostEquals(score, expected, 1e-9, metric);
  }
});
