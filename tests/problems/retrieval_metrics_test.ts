import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import reference from "../../fixtures/references/similarity.json" with {
  type: "json",
};
import { problemOf } from "../../lib/problems/registry.ts";
import {
  relevantPositions,
  RETRIEVAL_METRICS,
  retrievalScores,
} from "../../lib/problems/retrieval_metrics.ts";

const { similarities, relevant, metrics } = reference.retrieval;

Deno.test("retrievalScores() has the means of sentence-transformers' InformationRetrievalEvaluator to 1e-9, also with ties", () => {
  const positions = relevant.map((texts, query) =>
    relevantPositions(similarities[query]!, texts)
  );
  assertEquals(
    Object.keys(metrics).sort(),
    Object.keys(RETRIEVAL_METRICS).sort(),
  );
  for (const [metric, expected] of Object.entries(metrics)) {
    const scores = retrievalScores(metric, positions);
    const mean = scores.reduce((sum, it) => sum + it, 0) / scores.length;
    assertAlmostEquals(mean, expected, 1e-9, metric);
  }
});

Deno.test("relevantPositions() gives positions from 1 in ascending order, and of equal texts the one with the smaller number first", () => {
  const positions = (given: number[]) => [
    ...relevantPositions([0.5, 0.9, 0.5, -1, 0.9], given),
  ];
  assertEquals(positions([3, 0, 4]), [2, 3, 5]);
  assertEquals(positions([2]), [4]);
  assertEquals(positions([1]), [1]);
});

Deno.test("relevantPositions() ranks neither by a similarity that is NaN nor a text that the corpus lacks", () => {
  assertThrows(
    () => relevantPositions([0.1, NaN], [0]),
    RangeError,
    "The similarity to text 1 is NaN",
  );
  assertThrows(
    () => relevantPositions([0.1, 0.2], [2]),
    RangeError,
    "The corpus has 2 texts, and none with the number 2",
  );
});

Deno.test("retrievalScores() does not count a relevant text behind the first k", () => {
  const behind = [Int32Array.of(11, 101)];
  const scores = Object.keys(RETRIEVAL_METRICS).map((metric) => [
    metric,
    ...retrievalScores(metric, behind),
  ]);
  assertEquals(scores, [
    ["accuracy@1", 0],
    ["accuracy@10", 0],
    ["recall@10", 0],
    ["mrr@10", 0],
    ["ndcg@10", 0],
    ["map@100", 1 / 11 / 2],
  ]);
  assertThrows(
    () => retrievalScores("ndcg@5", behind),
    TypeError,
    'Unknown metric "ndcg@5"',
  );
});

Deno.test("scores of pairs have SciPy's correlations with cosines, with ties among the scores", () => {
  const { predicted, given, pearson, spearman } = reference.scores;
  const problem = problemOf({ problem: "regression", labels: null });
  for (const [metric, expected] of Object.entries({ pearson, spearman })) {
    const score = problem.scorer(metric, given)()(predicted);
    assertAlmostEquals(score, expected, 1e-9, metric);
  }
});
