import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  scoresOfRows,
  tableLabels,
} from "../../../lib/cli/commands/row_scores.ts";

Deno.test("scoresOfRows() scores numbers, and nothing where no row has a label", () => {
  const none = { label: null, probabilities: null };
  const texts = [1, 2, 3].map((score) => ({ text: "x", ...none, score }));
  const predicted = { problem: "regression" as const, texts };
  const scored = scoresOfRows(
    predicted,
    ["1", 2, 3],
    ["pearson"],
    undefined,
  )!;
  assertEquals(scored.labelled, 3);
  assertAlmostEquals(scored.scores.pearson!, 1, 1e-9);
  assertEquals(
    scoresOfRows(predicted, [null, "", undefined], undefined, undefined),
    undefined,
  );
});

const SOLVED = { problem: "multi-label", labels: ["a", "b"] };

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
      SOLVED,
    );
  const counts = { labelled: 2, unknown: 1 };
  assertEquals(scores(0.5), { ...counts, scores: { subset_accuracy: 0.5 } });
  assertEquals(scores(0.35), { ...counts, scores: { subset_accuracy: 1 } });
});

Deno.test("scoresOfRows() scores words by the tags of their texts, without words that have no token and texts with unknown tags", () => {
  const solved = { problem: "tokens", labels: ["O", "B-PER", "I-PER"] };
  const rows = [
    {
      values: [["anna", "bell", "\u200b", "ran"], ["B-PER", "I-PER", "O", "O"]],
    },
    { values: [["bob", "sat"], ["B-PER", "O"]] },
    { values: [["rome"], ["B-LOC"]] },
    { values: [["carl"], undefined] },
  ].map((row, i) => ({ place: `t.jsonl:${i + 1}`, ...row }));
  const form = { ...FORM, column: "tags" };
  const columns = ["tokens", "tags"];
  const labels = tableLabels("t.jsonl", columns, rows, "tokens", form, solved);
  const tagged = (tags: Record<number, string>) => ({
    text: "x",
    ...{ label: null, probabilities: null, score: null, entities: [] },
    tags: Object.entries(tags).map(([word, tag]) => ({
      word: Number(word),
      tag,
    })),
  });
  const texts = [
    tagged({ 0: "B-PER", 1: "I-PER", 3: "O" }),
    tagged({ 0: "B-PER", 1: "I-PER" }),
    tagged({ 0: "O" }),
    tagged({ 0: "O" }),
  ];
  assertEquals(
    scoresOfRows(
      { problem: "tokens", texts },
      labels!,
      ["entity_f1", "word_accuracy"],
      solved,
    ),
    {
      labelled: 2,
      unknown: 1,
      scores: { entity_f1: 0.5, word_accuracy: 0.8 },
    },
  );
});

const FORM = { column: undefined, isRequired: false };

Deno.test("tableLabels() reads columns of 0 and 1, of which a row without any has no labels that are known", () => {
  const columns = ["a", "text", "b"];
  const rows = [["1", "x", "0"], ["0", "y", "0"], ["", "z", ""]]
    .map((values, i) => ({ place: `t.csv:${i + 2}`, values }));
  const form = { ...FORM, marks: ["a", "b"] };
  assertEquals(
    tableLabels("t.csv", columns, rows, "text", form, SOLVED),
    [["a"], [], undefined],
  );
  // A table without them has no labels.
  assertEquals(
    tableLabels("t.csv", ["text"], [], "text", form, SOLVED),
    undefined,
  );
  assertThrows(
    () =>
      tableLabels(
        "t.csv",
        columns,
        [{ place: "t.csv:2", values: ["1", "x", "2"] }],
        "text",
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
        "text",
        { ...FORM, column: "label", mayBeNone },
        SOLVED,
      ),
      [["a", "b"], mayBeNone ? [] : undefined],
    );
  }
});
