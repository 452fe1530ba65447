import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import reference from "../../fixtures/metrics.json" with { type: "json" };
import {
  problemNamed,
  problemOf,
  PROBLEMS,
  scoresOf,
} from "../../lib/problems/registry.ts";

const CLASSES = ["a", "b", "c", "d"];

/** Problems whose labels are classes. */
const WITH_CLASSES = ["classification", "tokens"];

/** Scores by metrics of any problem, each by its own. */
function computeMetrics(
  names: readonly string[],
  predictions: ArrayLike<number>,
  labels: ArrayLike<number>,
): Record<string, number> {
  return Object.assign(
    {},
    ...PROBLEMS.map((name) => {
      const kind = problemNamed(name);
      const own = names.filter((it) => it in kind.metrics);
      if (own.length === 0) return {};
      const problem = kind.of(WITH_CLASSES.includes(name) ? CLASSES : null);
      return scoresOf(problem, own, predictions, labels);
    }),
  );
}

for (const { name, predictions, labels, metrics } of reference) {
  Deno.test(`scoresOf() equals scikit-learn and SciPy to 1e-12: ${name}`, () => {
    const names = Object.keys(metrics);
    const numbers = predictions.map((value) => value ?? NaN);
    const computed = computeMetrics(names, numbers, labels);
    for (const [metric, expected] of Object.entries(metrics)) {
      const actual = computed[metric]!;
      if (expected === null) assert(Number.isNaN(actual), metric);
      else assertAlmostEquals(actual, expected, 1e-12, `${metric} ${actual}`);
    }
  });
}

Deno.test("scoresOf() rejects no examples, and different numbers of predictions and labels", () => {
  assertThrows(() => computeMetrics(["accuracy"], [], []), RangeError);
  assertThrows(
    () => computeMetrics(["accuracy"], [1, 0], [1]),
    Error,
    "2 predictions with 1 labels",
  );
});

Deno.test("scoresOf() does not depend on the order of the examples", () => {
  const pair = fc.tuple(fc.integer({ min: 0, max: 3 }), fc.nat(3));
  const names = ["accuracy", "f1", "matthews", "spearman"];
  fc.assert(
    fc.property(fc.array(pair, { minLength: 1, maxLength: 30 }), (pairs) => {
      const compute = (pairs: [number, number][]) =>
        computeMetrics(names, pairs.map(([p]) => p), pairs.map(([, l]) => l));
      const there = compute(pairs);
      const back = compute(pairs.toReversed());
      for (const name of names) {
        const difference = Math.abs(there[name]! - back[name]!);
        assert(
          difference < 1e-12 ||
            Number.isNaN(there[name]) && Number.isNaN(back[name]),
        );
      }
    }),
  );
});

Deno.test("predictions() takes the class with the largest logit, the first on a tie", () => {
  const logits = Float32Array.of(0, 2, 1, 3, 3, -1, -2, -2, -2, -5, -4, -3);
  assertEquals(
    problemOf({ problem: "classification", labels: ["a", "b", "c"] })
      .predictions(logits),
    Float32Array.of(1, 0, 0, 2),
  );
});

Deno.test("predictions() takes a single output as the score itself", () => {
  const logits = Float32Array.of(0.5, -1, 6);
  assertEquals(
    problemOf({ problem: "regression", labels: null }).predictions(logits),
    logits,
  );
});
