import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  areSameLabels,
  problemNamed,
  problemOf,
  problemOfOutputs,
  PROBLEMS,
} from "../../lib/problems/registry.ts";

const sentiment = problemOf({
  problem: "classification",
  labels: ["negative", "positive"],
});
const similarity = problemOf({ problem: "regression", labels: null });

Deno.test("problemOf() refuses a problem whose classes contradict it, and an unknown one", () => {
  for (
    const [problem, labels, message] of [
      ["classification", null, "requires the names of its classes"],
      ["regression", ["a", "b"], '"labels" must be null'],
      ["tagging", null, 'Unknown problem "tagging"'],
    ] as const
  ) {
    assertThrows(() => problemOf({ problem, labels }), Error, message);
  }
});

Deno.test("problemOfOutputs() names the classes of a head by number, and takes one output for a score", () => {
  assertEquals(problemOfOutputs(1), { problem: "regression", labels: null });
  assertEquals(problemOfOutputs(3), {
    problem: "classification",
    labels: ["LABEL_0", "LABEL_1", "LABEL_2"],
  });
});

Deno.test("areSameLabels() tells problems apart, whatever their classes", () => {
  const problem = "classification";
  const unnamed = { problem, labels: ["LABEL_0", "LABEL_1"] };
  assertEquals(
    areSameLabels(unnamed, { problem, labels: ["no", "yes"] }),
    true,
  );
  const score = { problem: "regression", labels: null };
  assertEquals(areSameLabels(score, unnamed), false);
});

Deno.test("scorer() scores the units of a draw as if they were all", () => {
  const [predictions, labels] = [[0, 1, 1, 0], [0, 1, 0, 1]];
  const scorer = sentiment.scorer("accuracy", labels);
  const scores = [undefined, [0, 1, 1], [2, 3]].map((units) =>
    scorer(units)(predictions)
  );
  assertEquals(scores, [0.5, 1, 0]);
  const correlation = similarity.scorer("pearson", labels);
  assertEquals(correlation()(labels), 1);
  assertEquals(correlation([1, 3])(labels), NaN);
});

Deno.test("scorer() refuses a metric of another problem, and names its own", () => {
  assertThrows(
    () => similarity.scorer("accuracy", [1]),
    TypeError,
    'Unknown metric "accuracy"; the metrics are pearson, spearman',
  );
});

Deno.test("a prediction of a class has all probabilities", () => {
  const prediction = sentiment.prediction(
    Float32Array.of(0, Math.log(3)),
    { text: "", read: [] },
  );
  assertEquals(prediction.label, "positive");
  const { negative, positive } = prediction.probabilities!;
  assertEquals(
    [negative!.toFixed(6), positive!.toFixed(6)],
    ["0.250000", "0.750000"],
  );
});

Deno.test("a prediction of a score is the output itself", () => {
  const prediction = similarity.prediction(Float32Array.of(3.5), {
    text: "",
    read: [],
  });
  const score = { label: null, probabilities: null, score: 3.5 };
  assertEquals(prediction, score);
});

Deno.test("each problem has a name of its own, and a metric is the same in all that have it", () => {
  assertEquals(new Set(PROBLEMS).size, PROBLEMS.length);
  const metrics = new Map<string, unknown>();
  for (const kind of PROBLEMS.map(problemNamed)) {
    for (const [name, metric] of Object.entries(kind.metrics)) {
      const same = metrics.getOrInsert(name, metric);
      assert(same === metric, `${kind.name} has another ${name}`);
    }
  }
});
