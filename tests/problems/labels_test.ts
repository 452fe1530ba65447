import { assertEquals, assertIsError, assertThrows } from "@std/assert";
import { toExamples } from "../../lib/data/labels.ts";
import { columnOf, labelsOf } from "../../lib/problems/registry.ts";

const { namesIn } = columnOf("classification");

/** Rows of one text with these labels, from line 2 on. */
function rowsOf(labels: readonly unknown[]) {
  return labels.map((label, i) => ({
    place: `a.jsonl:${i + 2}`,
    values: ["text", label],
  }));
}

/** What a label becomes in a regression. */
function scoreOf(label: unknown) {
  return toExamples(
    rowsOf([label]),
    labelsOf({ problem: "regression", labels: null }),
  )[0]!.label;
}

Deno.test("toExamples() takes numbers in any decimal notation as scores", () => {
  const labels = [4, 4.5, -2n, "0", " 3 ", "+.5", "-5.", "1.5e-3", "2E2"];
  assertEquals(labels.map(scoreOf), [4, 4.5, -2, 0, 3, 0.5, -5, 0.0015, 200]);
});

Deno.test("toExamples() takes the text -1 for a class of this name, and the number for a missing label", () => {
  const labelling = {
    ...labelsOf({ problem: "classification", labels: ["-1", "0", "1"] }),
    areRecorded: true,
  };
  assertEquals(toExamples(rowsOf(["-1"]), labelling)[0]!.label, 0);
  assertEquals(toExamples(rowsOf([-1]), labelling)[0]!.label, undefined);
});

for (
  const [label, found] of [
    ["", "nothing"],
    [" ", "nothing"],
    ["\t", "nothing"],
    [null, "nothing"],
    [undefined, "nothing"],
    ["0x10", '"0x10"'],
    ["1,5", '"1,5"'],
    ["1e999", '"1e999"'],
    ["Infinity", '"Infinity"'],
    [NaN, "NaN"],
    [Infinity, "Infinity"],
    [true, "true"],
    [[], "a list"],
    [[4], "a list"],
    [new Date(0), "a date"],
  ] as const
) {
  Deno.test(`toExamples() refuses ${Deno.inspect(label)} as a score, with its place`, () => {
    assertEquals(
      assertThrows(() => scoreOf(label), SyntaxError).message,
      `a.jsonl:2: Expected a number as the label, found ${found}`,
    );
  });
}

Deno.test("namesIn() and toExamples() leave out spaces around the name of a class", () => {
  const rows = rowsOf(["pos ", "neg\r", "pos", "\tneg"]);
  const names = namesIn(rows);
  assertEquals(names, ["neg", "pos"]);
  const examples = toExamples(
    rows,
    labelsOf({ problem: "classification", labels: names }),
  );
  assertEquals(examples.map(({ label }) => label), [1, 0, 1, 0]);
});

for (
  const [label, found] of [
    ["   ", "nothing"],
    [NaN, "NaN"],
    [-Infinity, "-Infinity"],
    [
      2 ** 53,
      "9007199254740992, which is not exact as a number: write it in quotes",
    ],
    [["pos"], "a list"],
  ] as const
) {
  Deno.test(`namesIn() refuses ${Deno.inspect(label)} as a class, with its place`, () => {
    assertEquals(
      assertThrows(
        () => namesIn(rowsOf(["pos", "neg", label])),
        SyntaxError,
      ).message,
      `a.jsonl:4: Expected a label, found ${found}`,
    );
  });
}

Deno.test("toExamples() refuses a text of more than four million characters, with its place", () => {
  const rows = [1, 0].map((more, i) => ({
    place: `a.csv:${i + 2}`,
    values: ["x".repeat(4_000_000 + more), "1"],
  }));
  assertEquals(toExamples(rows.slice(1), undefined).length, 1);
  assertIsError(
    assertThrows(() => toExamples(rows, undefined), SyntaxError),
    SyntaxError,
    /^a.csv:2: The text has 4000001 characters; the maximum is 4000000/,
  );
});
