import { assertEquals, assertThrows } from "@std/assert";
import { classesOf, toExamples } from "../../lib/glue/own_data.ts";

/** Rows of one text with these labels, from line 2 on. */
function rowsOf(labels: readonly unknown[]) {
  return labels.map((label, i) => ({
    place: `a.jsonl:${i + 2}`,
    values: ["text", label],
  }));
}

/** What a label becomes in a regression. */
function scoreOf(label: unknown) {
  return toExamples(rowsOf([label]), { kind: "score" })[0]!.label;
}

Deno.test("toExamples() takes numbers, however they are written in decimal, as scores", () => {
  const labels = [4, 4.5, -2n, "0", " 3 ", "+.5", "-5.", "1.5e-3", "2E2"];
  assertEquals(labels.map(scoreOf), [4, 4.5, -2, 0, 3, 0.5, -5, 0.0015, 200]);
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
    [new Date(0), "an object"],
  ] as const
) {
  Deno.test(`toExamples() refuses ${Deno.inspect(label)} as a score, with its place`, () => {
    assertEquals(
      assertThrows(() => scoreOf(label), SyntaxError).message,
      `a.jsonl:2: Expected a number as the label, found ${found}`,
    );
  });
}

Deno.test("classesOf() and toExamples() leave out spaces around the name of a class", () => {
  const rows = rowsOf(["pos ", "neg\r", "pos", "\tneg"]);
  const names = classesOf(rows);
  assertEquals(names, ["neg", "pos"]);
  const examples = toExamples(rows, { kind: "classes", names });
  assertEquals(examples.map(({ label }) => label), [1, 0, 1, 0]);
});

for (
  const [label, found] of [
    ["   ", "nothing"],
    [NaN, "NaN"],
    [-Infinity, "-Infinity"],
    [["pos"], "a list"],
  ] as const
) {
  Deno.test(`classesOf() refuses ${Deno.inspect(label)} as a class, with its place`, () => {
    assertEquals(
      assertThrows(
        () => classesOf(rowsOf(["pos", "neg", label])),
        SyntaxError,
      ).message,
      `a.jsonl:4: Expected a label, found ${found}`,
    );
  });
}
