import { assertEquals } from "@std/assert";
import type { Problem } from "../../lib/problems/problem.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import { viewOf } from "../../lib/report/problem_views.ts";

function outcomesOf(
  problem: Problem,
  labels: readonly number[],
  predictions: readonly number[],
  probabilities: readonly number[] | null,
  starts?: Int32Array,
) {
  const targets = { problem, labels, ...starts && { starts } };
  return viewOf(problem).outcomes(targets, { predictions, probabilities });
}

function constantsOf(problem: Problem, labels: readonly number[]) {
  return viewOf(problem).constants({ problem, labels }).rows;
}

Deno.test("constants() of classes are those that occur, the most frequent first, and of scores none", () => {
  const classes = problemOf({
    problem: "classification",
    labels: ["a", "b", "c"],
  });
  assertEquals(constantsOf(classes, [2, 2, 0]), [[2], [0]]);
  const scores = problemOf({ problem: "regression", labels: null });
  assertEquals(constantsOf(scores, [1, 2]), []);
});

Deno.test("constants() of several labels predict the most frequent ones, one more each time", () => {
  const labels = ["a", "b", "c"];
  const problem = problemOf({ problem: "multi-label", labels });
  assertEquals(constantsOf(problem, [0, 1, 0, 1, 1, 0]), [
    [0, 1, 0],
    [1, 1, 0],
    [1, 1, 1],
  ]);
});

Deno.test("the outcomes of tokens tell missed, made up and wrongly typed entities and other borders apart", () => {
  // Three texts: `Anna Bell saw Rome`, `ok`, `New York`.
  const starts = Int32Array.of(0, 4, 5, 7);
  const tags = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"];
  const problem = problemOf({ problem: "tokens", labels: tags }, starts);
  const labels = [3, 4, 0, 1, 0, 1, 2];
  const predictions = [3, 0, 0, 1, 3, 3, 4];
  const { names, classes, outcomes } = outcomesOf(
    problem,
    labels,
    predictions,
    predictions.map(() => 0.5),
    starts,
  );
  assertEquals([names, classes], [
    ["LOC", "PER", "another border", "nothing"],
    2,
  ]);
  assertEquals(
    outcomes.map(({ example, label, prediction, words }) => [
      example,
      names[label],
      names[prediction],
      words!.start,
      words!.end,
    ]),
    [
      [0, "PER", "another border", 0, 2],
      [0, "LOC", "LOC", 3, 4],
      [0, "another border", "PER", 0, 1],
      [1, "nothing", "PER", 0, 1],
      [2, "LOC", "PER", 0, 2],
    ],
  );
});

Deno.test("outcomes of pairs with scores are wrong by the positions between their order by score and by cosine", () => {
  const problem = problemOf({ problem: "similarity", labels: null });
  const cosines = [0.1, 0.4, 1.5, 3].map(Math.cos);
  // The second pair has the last position by score and the second by cosine.
  const { outcomes } = outcomesOf(problem, [5, 0, 1, 4], cosines, null);
  assertEquals(outcomes.map(({ error }) => error), [0, 0.5, 0, 0.5]);
});

Deno.test("outcomes of rankings are the queries above whose answers another text is ranked, with that text", () => {
  const problem = problemOf({ problem: "retrieval", labels: null });
  // Numbers of the query and the answer of each example; its position and the
  // first text that is no answer.
  const targets = [0, 1, 0, 2, 3, 4, 0, 1, 5, 4];
  const predictions = [1, 2, 3, 2, 1, 1, 1, 2, 2, 1];
  const { missed, outcomes } = outcomesOf(problem, targets, predictions, null);
  assertEquals(outcomes, []);
  assertEquals(missed, [{
    query: 2,
    example: 4,
    answer: 4,
    position: 2,
    firstRanked: 1,
  }]);
});
