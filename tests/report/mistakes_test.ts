import { assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import { compare } from "../../lib/report/compare.ts";
import {
  classesText,
  mistakesOf,
  mistakesText,
} from "../../lib/report/mistakes.ts";
import type { Result } from "../../lib/report/result.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import { OPTIONS, REGRESSION, resultOf } from "./results.ts";

/** Figures of scikit-learn: `fixtures/report_figures.py`. */
const { classes: REFERENCES } = JSON.parse(Deno.readTextFileSync(
  join(import.meta.dirname!, "../../fixtures/references/statistics.json"),
));

/** A result with given predictions at rank 1. */
function predicted(
  labels: readonly number[],
  predictions: readonly number[],
  others: Partial<Result> = {},
): Result {
  const [first] = resultOf("own", "dylora", { 1: 0 }).ranks;
  return {
    ...resultOf("own", "dylora", {}, { ...others }),
    labels,
    ranks: [{ ...first!, predictions, probabilities: null }],
  };
}

Deno.test("mistakesOf() counts and scores classes as scikit-learn does", () => {
  const names = ["a", "b", "c", "d"];
  for (const { labels, predictions, confusion, ...scores } of REFERENCES) {
    const { classes } = mistakesOf({ method: 0, rank: 1 }, [
      predicted(labels, predictions, {
        problem: problemOf({ problem: "classification", labels: names }),
      }),
    ]);
    assertEquals(classes!.map(({ name }) => name), names);
    assertEquals(classes!.map(({ predicted }) => predicted), confusion);
    for (const score of ["precision", "recall", "f1"] as const) {
      classes!.forEach((it, i) =>
        assertAlmostEquals(it[score], scores[score][i], 1e-12)
      );
    }
  }
});

Deno.test("mistakesOf() adds the counts of seeds, and lists an example once, by its most confident seed", () => {
  const of = (seed: number, predictions: number[], probabilities: number[]) => {
    const result = predicted([0, 0, 1], predictions, {
      seed,
      texts: [{ text: "x" }, { text: "y", pair: "z" }, { text: "w" }],
    });
    return {
      ...result,
      ranks: result.ranks.map((it) => ({ ...it, probabilities })),
    };
  };
  const { classes, worst } = mistakesOf({ method: 0, rank: 1 }, [
    of(0, [1, 1, 1], [0.7, 0.6, 0.9]),
    of(1, [0, 1, 1], [0.9, 0.8, 0.9]),
  ]);
  assertEquals(classes!.map(({ predicted }) => predicted), [[1, 3], [0, 2]]);
  assertEquals(worst, [
    {
      example: 1,
      label: "no",
      prediction: "yes",
      probability: 0.8,
      text: "y",
      pair: "z",
    },
    {
      example: 0,
      label: "no",
      prediction: "yes",
      probability: 0.7,
      text: "x",
    },
  ]);
});

Deno.test("mistakesOf() lists the largest errors of a regression", () => {
  const { classes, worst } = mistakesOf({ method: 0, rank: 1 }, [
    predicted([1, 2, 3], [1.5, 2, 0], { problem: REGRESSION }),
  ]);
  assertEquals(classes, null);
  assertEquals(worst.map(({ example, prediction }) => [example, prediction]), [
    [2, 0],
    [0, 1.5],
  ]);
});

Deno.test("classesText() shows what many classes are mistaken for instead of a matrix, and mistakesText() cuts long texts", () => {
  const names = Array.from({ length: 9 }, (_, i) => `class_${i}`);
  const labels = names.map((_, i) => i);
  const { comparisons: [comparison] } = compare([
    predicted(labels, [...labels.slice(0, 7), 0, 0], {
      problem: problemOf({ problem: "classification", labels: names }),
      texts: labels.map((i) => ({ text: `${i}`.repeat(200) })),
    }),
  ], OPTIONS);
  const [heading, , worst] = mistakesText(comparison!);
  const [, classes] = classesText(comparison!);
  assertEquals(heading, "### Mistakes of DyLoRA at rank 1");
  const [head, , first] = classes!.split("\n");
  assertEquals(
    head,
    "| Class | Precision | Recall | F1 | Examples | Mistaken for |",
  );
  assertEquals(first, "| class\\_0 | 33.3 | 100.0 | 50.0 | 1 |  |");
  assertEquals(
    classes!.split("\n").at(-1),
    "| class\\_8 | 0.0 | 0.0 | 0.0 | 1 | class\\_0 1 |",
  );
  assertEquals(
    worst!.split("\n")[2],
    `| 9 | class\\_8 | class\\_0 | ${"8".repeat(160)}… |`,
  );
});

Deno.test("mistakesOf() marks the words of a mistake, and starts a long sentence shortly before them", () => {
  const before = "w ".repeat(100);
  const starts = Int32Array.of(0, 101, 102);
  const tags = { problem: "tokens", labels: ["O", "B-x"] };
  const problem = problemOf(tags, starts);
  const words = Array.from({ length: 101 }, (_, i) => [2 * i, 2 * i + 1]);
  const labels = [...Array<number>(100).fill(0), 1, 0];
  const result = predicted(
    labels,
    labels.map((it, i) => i < 100 ? it : 1 - it),
    {
      problem,
      starts,
      texts: [
        { text: `${before}X and so on`, words: words as [number, number][] },
        { text: "short", words: [[0, 5]] },
      ],
    },
  );
  const probabilities = labels.map(() => 0.5);
  const { worst } = mistakesOf({ method: 0, rank: 1 }, [
    { ...result, ranks: [{ ...result.ranks[0]!, probabilities }] },
  ]);
  assertEquals(worst.map(({ text }) => text), [
    `…${before.slice(-60)}[X] and so on`,
    "[short]",
  ]);
});
