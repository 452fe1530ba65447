import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  scoresOfRows,
  tableLabels,
} from "../../../lib/cli/commands/row_scores.ts";

Deno.test("scoresOfRows() scores numbers, and nothing where no row has a label", () => {
  const none = { label: null, probabilities: null };
  const texts = [1, 2, 3].map((score) => ({ text: "x", ...none, score }));
  const predicted = { problem: "regression" as const, texts };
  const scored = scoresOfRows(predicted, ["1", 2, 3], ["pearson"])!;
  assertEquals(scored.labelled, 3);
  assertAlmostEquals(scored.scores.pearson!, 1, 1e-9);
  assertEquals(
    scoresOfRows(predicted, [null, "", undefined], undefined),
    undefined,
  );
});

Deno.test("scoresOfRows() scores several labels by the threshold that predicted them, and leaves out unknown ones", () => {
  const texts = [[0.9, 0.4], [0.2, 0.3], [0.1, 0.8]].map(([a, b]) => ({
    text: "x",
    label: null,
    labels: [],
    probabilities: { a: a!, b: b! },
    score: null,
  }));
  const labels = [["b", "a"], [], ["c"]];
  const scores = (threshold: number) =>
    scoresOfRows(
      { problem: "multi-label", texts, threshold },
      labels,
      ["subset_accuracy"],
    );
  const counts = { labelled: 2, unknown: 1 };
  assertEquals(scores(0.5), { ...counts, scores: { subset_accuracy: 0.5 } });
  assertEquals(scores(0.35), { ...counts, scores: { subset_accuracy: 1 } });
});

const FORM = { column: undefined, isRequired: false };
const SOLVED = { problem: "multi-label", labels: ["a", "b"] };

Deno.test("tableLabels() reads columns of 0 and 1, of which a row without any has no labels that are known", () => {
  const columns = ["a", "text", "b"];
  const rows = [["1", "x", "0"], ["0", "y", "0"], ["", "z", ""]]
    .map((values, i) => ({ place: `t.csv:${i + 2}`, values }));
  const form = { ...FORM, marks: ["a", "b"] };
  assertEquals(
    tableLabels("t.csv", columns, rows, form, SOLVED),
    [["a"], [], undefined],
  );
  // A table without them has no labels.
  assertEquals(
    tableLabels("t.csv", ["text"], [], form, SOLVED),
    undefined,
  );
  assertThrows(
    () =>
      tableLabels(
        "t.csv",
        columns,
        [{ place: "t.csv:2", values: ["1", "x", "2"] }],
        form,
        SOLVED,
      ),
    SyntaxError,
    't.csv:2: Column "b" has "2", expected 0 or 1',
  );
});

Deno.test("tableLabels() reads a text without labels as one that has none where the training does", () => {
  const rows = ["a;b", ""].map((value, i) => (
    { place: `t.csv:${i + 2}`, values: [value] }
  ));
  for (const mayBeNone of [true, false]) {
    assertEquals(
      tableLabels(
        "t.csv",
        ["label"],
        rows,
        { ...FORM, column: "label", mayBeNone },
        SOLVED,
      ),
      [["a", "b"], mayBeNone ? [] : undefined],
    );
  }
});
