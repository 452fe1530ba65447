import { assertEquals, assertThrows } from "@std/assert";
import {
  PREDICTED_COLUMNS,
  viewOf,
} from "../../../lib/cli/commands/prediction_view.ts";
import { PROBLEMS } from "../../../lib/problems/registry.ts";

const NONE = { label: null, probabilities: null, score: null };

Deno.test("viewOf() shows a class with all probabilities, the predicted one first", () => {
  const { lines, cells, columns } = viewOf("classification");
  const prediction = {
    ...NONE,
    label: "positive",
    probabilities: { neutral: 0.1, negative: 0.15, positive: 0.75 },
  };
  assertEquals(lines(prediction), [
    ["positive", "0.7500"],
    ["negative", "0.1500"],
    ["neutral", "0.1000"],
  ]);
  assertEquals(columns, ["predicted_label", "probability"]);
  assertEquals(cells(prediction), ["positive", 0.75]);
});

Deno.test("viewOf() shows of several labels those that are predicted first, with the probabilities of all", () => {
  const { lines, cells, columns } = viewOf("multi-label");
  const probabilities = { a: 0.2, b: 0.6, c: 0.4, d: 0.7 };
  const prediction = { ...NONE, labels: ["b", "d"], probabilities };
  assertEquals(lines(prediction), [
    ["d", "0.7000  predicted"],
    ["b", "0.6000  predicted"],
    ["c", "0.4000"],
    ["a", "0.2000"],
  ]);
  assertEquals(columns, ["predicted_labels", "probabilities"]);
  assertEquals(cells(prediction), [["b", "d"], probabilities]);
});

Deno.test("viewOf() shows scores, entities and written texts", () => {
  const score = viewOf("regression");
  assertEquals(score.lines({ ...NONE, score: 3.5 }), [["", "3.500"]]);
  assertEquals(score.cells({ ...NONE, score: 3.5 }), [3.5]);
  const entities = [
    { start: 2, end: 6, text: "Anna", label: "PER", probability: 1 },
  ];
  const words = viewOf("tokens");
  assertEquals(words.lines({ ...NONE, entities }), [
    ["PER", "1.0000  2 to 6  Anna"],
  ]);
  assertEquals(words.cells({ ...NONE, entities }), [entities]);
  const texts = viewOf("language");
  assertEquals(texts.lines({ ...NONE, written: "a" }), [["", "a"]]);
});

Deno.test("each problem of which single texts are predicted has a view, with columns of its own", () => {
  // Written texts are those of "language", and embeddings no predictions.
  const others = ["writing", "similarity", "retrieval", "groups"];
  const trained = PROBLEMS.filter((name) => !others.includes(name));
  for (const name of trained) viewOf(name);
  for (const name of others) assertThrows(() => viewOf(name), TypeError);
  assertEquals(new Set(PREDICTED_COLUMNS).size, PREDICTED_COLUMNS.length);
});
