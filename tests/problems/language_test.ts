import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { completionColumn } from "../../lib/problems/language.ts";
import { problemOf } from "../../lib/problems/registry.ts";

const fields = { problem: "language", labels: null };
const read = completionColumn.reader!({
  ...{ repairs: false, log: () => {}, fault: () => {} },
});

Deno.test("scorer() gives the mean loss of the tokens of the prompts that are drawn, and its exponential", () => {
  const problem = problemOf(fields, Int32Array.of(0, 1, 4));
  const losses = Float32Array.of(4, 1, 0, 2);
  const tokens = Float32Array.of(7, 7, 8, 9);
  assertEquals(problem.units(tokens), 2);
  const loss = problem.scorer("loss", tokens);
  assertEquals(
    [undefined, [0], [1], [1, 0, 1]].map((drawn) => loss(drawn)(losses)),
    [7 / 4, 4, 1, 10 / 7],
  );
  assertAlmostEquals(
    problem.scorer("perplexity", tokens)()(losses),
    Math.exp(7 / 4),
    1e-12,
  );
});

Deno.test("a text to write refuses classes, and metrics of classes", () => {
  assertThrows(
    () => problemOf({ ...fields, labels: ["a", "b"] }),
    SyntaxError,
    'A text to write has no classes: "labels" must be null',
  );
  assertThrows(
    () => problemOf(fields, Int32Array.of(0, 1)).scorer("f1", [1]),
    TypeError,
    'Unknown metric "f1"; the metrics are loss, perplexity',
  );
});

Deno.test("a pair of prompt and text that repeats an earlier one is a fault of the data, another text of the prompt is none", () => {
  const conversation = (...contents: string[]) => [
    contents.map((content, i) => (
      { role: i % 2 ? "assistant" : "user", content }
    )),
  ];
  const faultsOf = (rows: readonly (readonly unknown[])[]) =>
    completionColumn.of([]).faults(
      read(rows.map((values, i) => ({ place: `a:${i + 1}`, values })), true),
      { areNamed: false, isTraining: true },
    );
  const expected = [
    "1 of 4 rows that repeat an earlier one and count again (a:4): remove them, or leave them out by -S repeated=drop",
  ];
  assertEquals(
    faultsOf([["x", "y"], ["x", "z"], ["u", "y"], ["x", "y"]]),
    expected,
  );
  assertEquals(
    faultsOf([
      conversation("x", "y"),
      conversation("u", "v", "x", "y"),
      conversation("x", "z"),
      conversation("x", "y"),
    ]),
    expected,
  );
});

Deno.test("messages of Parquet files may have big integers, which the data set has as numbers", () => {
  const message = { role: "user", content: "a" };
  const answer = { role: "assistant", content: "b" };
  const values = [[{ ...message, n: 3n, more: [{ n: 4n }] }, answer]];
  const [row] = read([{ place: "a:1", values }], true);
  assertEquals(completionColumn.of([]).read(row!), {
    text: "a",
    completions: ["b"],
    messages: [{ ...message, n: 3, more: [{ n: 4 }] }],
  });
});
