import { assertEquals } from "@std/assert";
import { problemOf } from "../../lib/problems/registry.ts";

const FIELDS = {
  problem: "tokens",
  labels: ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
};

/** Three texts: `Anna Bell saw Rome`, `ok`, `New York`. */
const problem = problemOf(FIELDS, Int32Array.of(0, 4, 5, 7));
const LABELS = [3, 4, 0, 1, 0, 1, 2];
const PREDICTIONS = [3, 0, 0, 1, 3, 3, 4];

Deno.test("the scorer of tokens scores entities of any draw of texts, and words", () => {
  const scoreOf = (metric: string) => (units?: number[]) =>
    problem.scorer(metric, LABELS)(units)(PREDICTIONS);
  const f1 = scoreOf("entity_f1");
  // Of 3 entities, 1 of 4 predicted is right: Rome.
  assertEquals(f1(), 2 * (1 / 4) * (1 / 3) / (1 / 4 + 1 / 3));
  assertEquals(f1([0]), 0.5);
  assertEquals(f1([0, 0, 1]), 2 * (2 / 5) * (2 / 4) / (2 / 5 + 2 / 4));
  assertEquals(f1([1]), 0);
  const accuracy = scoreOf("word_accuracy");
  assertEquals([accuracy(), accuracy([0]), accuracy([1, 2])], [3 / 7, 0.75, 0]);
  assertEquals(problem.units(LABELS), 3);
});

Deno.test("the prediction of a text has its entities in characters as Python counts them", () => {
  const tokens = problemOf(FIELDS);
  const text = "\u{1f600} Anna saw";
  const { words, ...example } = tokens.toExample({ text }, 0);
  assertEquals([example, words], [
    { text, index: 0 },
    [[0, 2], [3, 7], [8, 11]],
  ]);
  const likely = [0, 3, 0].map((best) =>
    Array.from({ length: 5 }, (_, i) => i === best ? 20 : 0)
  );
  const prediction = tokens.prediction(
    Float32Array.from(likely.flat()),
    { text, words: words!, read: [0, 1, 2] },
  );
  const [{ probability, ...entity }] = prediction.entities as [
    NonNullable<typeof prediction.entities>[number],
  ];
  assertEquals(entity, { start: 2, end: 6, text: "Anna", label: "PER" });
  assertEquals(probability.toFixed(4), "1.0000");
});
