import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import reference from "../../fixtures/references/multi_label_metrics.json" with {
  type: "json",
};
import { problemOf, scoresOf } from "../../lib/problems/registry.ts";
import { mistakesOf } from "../../lib/report/mistakes.ts";
import { compare } from "../../lib/report/compare.ts";
import { OPTIONS, resultOf } from "../report/results.ts";

const NAMES = ["a", "b", "c"];
const problem = problemOf({ problem: "multi-label", labels: NAMES });

for (const { name, threshold, labels, scores, ...expected } of reference) {
  const classes = labels[0]!.map((_, i) => `label ${i}`);
  const own = problemOf({ problem: "multi-label", labels: classes, threshold });
  const predictions = Float32Array.from(scores.flat());

  Deno.test(`scores of several labels equal scikit-learn to 1e-12: ${name}`, () => {
    const metrics = Object.keys(expected.metrics);
    const computed = scoresOf(own, metrics, predictions, labels.flat());
    for (const [metric, value] of Object.entries(expected.metrics)) {
      assertAlmostEquals(computed[metric]!, value, 1e-12, metric);
    }
  });

  Deno.test(`scores of each label in a report equal scikit-learn to 1e-12: ${name}`, () => {
    const rank = { rank: 1, metrics: {}, predictions, probabilities: null };
    const result = {
      ...resultOf("data", "lora", {}),
      problem: own,
      labels: labels.flat(),
      ranks: [rank],
    };
    const { classes: found } = mistakesOf({ method: 0, rank: 1 }, [result]);
    for (const [i, of] of expected.by_label.entries()) {
      const { precision, recall, f1 } = found![i]!;
      assertAlmostEquals(precision, of.precision, 1e-12);
      assertAlmostEquals(recall, of.recall, 1e-12);
      assertAlmostEquals(f1, of.f1, 1e-12);
    }
  });
}

Deno.test("a scorer of several labels scores the units that it draws, each as often as it is drawn", () => {
  const labels = [1, 0, 0, 0, 1, 1, 1, 1, 0];
  const predictions = [0.9, 0.2, 0.6, 0.1, 0.8, 0.3, 0.4, 0.7, 0.2];
  const drawn = [2, 0, 2];
  const rowsOf = (values: number[]) =>
    drawn.flatMap((unit) => values.slice(3 * unit, 3 * unit + 3));
  for (const metric of Object.keys(problem.metrics)) {
    assertEquals(
      problem.scorer(metric, labels)(drawn)(predictions),
      problem.scorer(metric, rowsOf(labels))()(rowsOf(predictions)),
      metric,
    );
  }
});

Deno.test("prediction() gives the labels whose probability reaches the threshold, with the probabilities of all", () => {
  const logits = Float32Array.of(2, -1, 0);
  const { labels, probabilities, label } = problem
    .prediction(logits, { text: "", read: [] });
  assertEquals(label, null);
  assertEquals(labels, ["a", "c"]);
  assertAlmostEquals(probabilities!.b!, 1 / (1 + Math.exp(1)), 1e-7);
  const strict = problemOf({
    problem: "multi-label",
    labels: NAMES,
    threshold: 0.6,
  });
  const found = strict.prediction(logits, { text: "", read: [] });
  assertEquals(found.labels, ["a"]);
});

Deno.test("balancedWeights() of several labels are the texts without a label for one with it", () => {
  const given = [1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0];
  assertEquals(problem.balancedWeights!(given), [1 / 3, 3, 1]);
});

Deno.test("problems of several labels match those with the same labels in the same order", () => {
  assert(problem.matches({ problem: "multi-label", labels: ["a", "b", "c"] }));
  assert(!problem.matches({ problem: "multi-label", labels: ["b", "a", "c"] }));
});

Deno.test("bestThreshold() is the one by which the predictions have the highest mean score, the lowest loss", () => {
  const labels = [1, 0, 0, 1, 1, 0];
  const ofLow = [0.3, 0.1, 0.2, 0.4, 0.3, 0.1];
  const ofHigh = [0.9, 0.25, 0.2, 0.8, 0.7, 0.1];
  const best = (metric: string) =>
    problem.bestThreshold!(metric, [ofLow, ofHigh], labels);
  const { value, score } = best("micro_f1");
  assertEquals(value, 0.3);
  assertEquals(score, 1);
  assertEquals(best("hamming_loss"), { value: 0.3, score: 0 });
});

Deno.test("a report says which threshold to set where no text is predicted any label, and nothing of it where some are", () => {
  const labels = Float32Array.from({ length: 60 }, (_, i) => Number(i % 4 < 2));
  const resultWith = (offset: number) => ({
    ...resultOf("data", "dylora", {}, { problem, labels }),
    ranks: [1, 2].map((rank) => {
      const predictions = labels.map((it) => offset + 0.2 * it);
      const metrics = {
        micro_f1: problem.scorer("micro_f1", labels)()(predictions),
      };
      return { rank, metrics, predictions, probabilities: null };
    }),
  });
  const { comparisons: [low] } = compare([resultWith(0.15)], OPTIONS);
  assertEquals(low!.threshold!.labelsPerText, 0);
  assertEquals(low!.threshold!.best, { value: 0.2, score: 1 });
  assertEquals(
    low!.verdict!.reasons[0],
    "No text is predicted any label, since no probability reaches 0.5: from 0.2 on, the micro F1 is 100.0 % on the held-out rows. Set -S threshold=0.2, or take the best one by -S threshold=best.",
  );
  const { comparisons: [high] } = compare([resultWith(0.4)], OPTIONS);
  assertEquals(high!.threshold!.labelsPerText, 1.5);
  assert(!high!.verdict!.reasons.join().includes("-S threshold"));
});
