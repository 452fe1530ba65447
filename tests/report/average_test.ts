import { assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { METRICS } from "../../lib/glue/metrics.ts";
import { compare } from "../../lib/report/compare.ts";
import type { Result } from "../../lib/report/result.ts";
import { seededDraw } from "../../lib/report/statistics/draw.ts";
import { renderMarkdown } from "../../lib/report/text/markdown.ts";

const EXAMPLES = 40;

/** A result that errs on the first examples: how many, by rank. */
function resultOf(
  task: string,
  split: string,
  method: string,
  errors: Readonly<Record<number, number>>,
): Result {
  const labels = Float32Array.from({ length: EXAMPLES }, (_, i) => i % 2);
  return {
    task,
    title: task.toUpperCase(),
    split,
    epoch: "last",
    method,
    variant: {},
    seed: 0,
    precision: "f32",
    labels,
    classes: true,
    ranks: Object.entries(errors).map(([rank, count]) => {
      const predictions = labels.map((it, i) => i < count ? 1 - it : it);
      return {
        rank: Number(rank),
        metrics: { accuracy: METRICS.accuracy(predictions, labels) },
        predictions,
      };
    }),
    training: undefined,
    reductionSeconds: 0,
    evaluationSeconds: 1,
    evaluationFlops: 1,
  };
}

const OPTIONS = {
  metric: () => METRICS.accuracy,
  draw: seededDraw(0),
  replicates: 400,
  confidence: 0.95,
  margin: 0.01,
};

Deno.test("compare() averages what all tasks have, MNLI by its matched set", () => {
  const report = compare([
    resultOf("mrpc", "validation", "dylora", { 1: 20, 2: 10 }),
    resultOf("mrpc", "validation", "lora", { 1: 8, 4: 4 }),
    resultOf("mrpc", "validation", "full", { 0: 4 }),
    resultOf("mnli", "validation_matched", "dylora", { 1: 0, 2: 2, 4: 2 }),
    resultOf("mnli", "validation_matched", "lora", { 1: 4, 2: 4 }),
    resultOf("mnli", "validation_mismatched", "dylora", { 1: 40, 2: 40 }),
  ], OPTIONS);
  assertEquals(report.comparisons.length, 3);
  const [average, ...others] = report.averages;
  assertEquals(others.length, 0);
  assertEquals(average!.split, "validation");
  assertEquals(average!.tasks.map(({ task }) => task), ["mrpc", "mnli"]);
  assertEquals(
    average!.methods.map(({ method, ranks }) => [
      method,
      ranks.map(({ rank, mean }) => [rank, Number(mean!.toFixed(6))]),
    ]),
    [
      ["dylora", [[1, 0.75], [2, 0.85]]],
      ["lora", [[1, 0.85]]],
    ],
  );
  // The mean with a task without errors has half the deviation of the other task alone.
  const [low, high] = average!.methods[0]!.ranks[0]!.interval!;
  const half = 1.96 * Math.sqrt(0.25 / EXAMPLES) / 2;
  assertAlmostEquals(low, 0.75 - half, 0.02, `${low}`);
  assertAlmostEquals(high, 0.75 + half, 0.02, `${high}`);
  const [contrast] = average!.contrasts;
  const [at1] = contrast!.ranks;
  assertEquals([contrast!.candidate, contrast!.baseline, at1!.rank], [0, 1, 1]);
  assertAlmostEquals(at1!.difference!, 0.75 - 0.85, 1e-9);
  // By example, MRPC differs in 12 of 40 and MNLI in 4 of 40, each way.
  const variance = [12, 4].reduce((sum, differing) => {
    const share = differing / EXAMPLES;
    return sum + share * (1 - share) / EXAMPLES;
  }, 0);
  const [under, over] = at1!.interval!;
  const around = 1.96 * Math.sqrt(variance) / 2;
  assertAlmostEquals(under, -0.1 - around, 0.02, `${under}`);
  assertAlmostEquals(over, -0.1 + around, 0.02, `${over}`);
  const text = renderMarkdown({ ...report, choices: [] });
  assertMatch(text, /^Less LoRA at the same rank, paired as below:$/m);
  assertMatch(text, /^\| 1 +\| -10\.0 \[/m);
  assertMatch(text, /^## Mean over 2 tasks$/m);
  assertMatch(text, /^\| 1 \| 75\.0 \[.*\] \| 85\.0 \[.*\] \|$/m);
});

Deno.test("compare() averages nothing where no method is common to all tasks", () => {
  const { averages } = compare([
    resultOf("mrpc", "validation", "dylora", { 1: 1 }),
    resultOf("rte", "validation", "lora", { 1: 1 }),
  ], OPTIONS);
  assertEquals(averages, []);
});

Deno.test("compare() averages nothing over one task", () => {
  const { averages } = compare(
    [resultOf("mrpc", "validation", "dylora", { 1: 1 })],
    OPTIONS,
  );
  assertEquals(averages, []);
});
