import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { join } from "node:path";
import fc from "fast-check";
import { exampleScorer, type Metric } from "../../lib/problems/problem.ts";
import { METRICS } from "./results.ts";
import {
  areaUnderCurve,
  bootstrap,
  deviation,
  interval,
  mean,
  quantile,
  recommend,
  seededDraw,
} from "../../lib/report/statistics.ts";

/**
 * Figures of NumPy, SciPy and scikit-learn, in the order of
 * `fixtures/report_figures.py`.
 */
const REFERENCES = JSON.parse(Deno.readTextFileSync(
  join(import.meta.dirname!, "../../fixtures/references/statistics.json"),
));

Deno.test("quantile(), mean() and deviation() agree with NumPy", () => {
  for (const reference of REFERENCES.quantiles) {
    near(quantile(reference.values, reference.share), reference.quantile);
    near(mean(reference.values), reference.mean);
    if (reference.deviation === null) {
      assert(Number.isNaN(deviation(reference.values)));
    } else {
      near(deviation(reference.values), reference.deviation);
    }
  }
});

Deno.test("quantile() is NaN if a value is", () => {
  assert(Number.isNaN(quantile([1, NaN, 3], 0.1)));
  assert(Number.isNaN(quantile([], 0.5)));
});

/** What scores by a metric. */
const scorerOf = (metric: Metric, labels: number[]) =>
  exampleScorer({ metric }, "metric", labels);

Deno.test("bootstrap() gives NumPy's scores for NumPy's draws", () => {
  const { labels, trainings, draws, replicates, scores } = REFERENCES.bootstrap;
  for (const metric of ["accuracy", "matthews"] as const) {
    const rest = [...draws];
    const draw = (count: number) => {
      const drawn = rest.shift();
      assertEquals(drawn.length, count);
      return drawn;
    };
    const found = bootstrap(
      trainings,
      labels,
      scorerOf(METRICS[metric], labels),
      replicates,
      draw,
    );
    assertEquals(rest.length, 0);
    found.forEach((values, t) => {
      values.forEach((value, r) => near(value, scores[metric][t][r]));
    });
  }
});

Deno.test("bootstrap() and interval() give the percentile interval of SciPy", () => {
  const { hits, replicates, interval: expected, error } = REFERENCES.accuracy;
  const labels = hits.map(() => 1);
  const [scores] = bootstrap(
    [{ seeds: [0], predictions: [hits] }],
    labels,
    scorerOf(METRICS.accuracy, labels),
    replicates,
    seededDraw(1),
  );
  const found = interval(scores!, 0.95)!;
  // Within four Monte-Carlo errors of an interval of as many replicates.
  found.forEach((end, i) =>
    assertAlmostEquals(end, expected[i], 4 * error[i], `${found}`)
  );
});

Deno.test("bootstrap() draws examples again if their labels are all equal, unless all labels are", () => {
  const correlations = (labels: number[]) =>
    bootstrap(
      [
        { seeds: [0], predictions: [labels.map((label, i) => label + i / 9)] },
      ],
      labels,
      scorerOf(METRICS.pearson, labels),
      1000,
      seededDraw(0),
    )[0]!;
  // The only 1 is missing from about 349 of 1,000 draws.
  const rare = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  assert(!correlations(rare).some(Number.isNaN));
  assert(correlations(rare.map(() => 0)).every(Number.isNaN));
});

Deno.test("areaUnderCurve() agrees with NumPy", () => {
  for (const curve of REFERENCES.curves) {
    near(areaUnderCurve(curve), curve.area);
    near(areaUnderCurve(curve, "log2"), curve.logArea);
  }
});

Deno.test("recommend() agrees with NumPy", () => {
  const reference = REFERENCES.recommend;
  const { ranks, scores, replicates } = reference;
  const means = replicates.map((values: number[]) => Float64Array.from(values));
  const found = recommend({ sign: 1, ranks, scores, means }, reference);
  assertEquals(found?.best, 4);
  // By its bound it would be the recommended one; that is within its own error
  // of the margin.
  const { bound, boundAtMost } = found!.evidence
    .find(({ rank }) => rank === reference.rank)!;
  assert(bound <= reference.margin && boundAtMost > reference.margin);
  assertEquals(found?.rank, 4);
  found!.evidence.forEach(({ bound }, i) => near(bound, reference.bounds[i]));
});

Deno.test("recommend() recommends nothing if a score is undefined", () => {
  const means = [Float64Array.of(0.5, NaN), Float64Array.of(0.5, 0.6)];
  const curve = { sign: 1 as const, ranks: [1, 2], scores: [NaN, 0.55], means };
  const settings = { margin: 0.01, confidence: 0.95 };
  assertEquals(recommend(curve, settings), null);
});

Deno.test("recommend() takes a rank that is worse by exactly the margin, and the smaller on a tie, in spite of rounding", () => {
  const settings = { margin: 0.01, confidence: 0.95 };
  for (let right = 1; right < 200; right++) {
    const scores = [right / 200, (right + 2) / 200];
    const means = scores.map((score) => Float64Array.of(score, score));
    const curve = { sign: 1 as const, ranks: [1, 2], scores, means };
    assertEquals(recommend(curve, settings)?.rank, 1);
  }
  const scores = [mean([0.5, 0.57, 0.51]), mean([0.51, 0.57, 0.5])].sort();
  const means = scores.map((score) => Float64Array.of(score));
  const curve = { sign: 1 as const, ranks: [1, 2], scores, means };
  assertEquals(recommend(curve, settings)?.best, 1);
});

Deno.test("recommend() takes no rank above the best one, and a smaller one for a larger margin", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(fc.property(
    fc.array(fc.array(share, { minLength: 12, maxLength: 12 }), {
      minLength: 1,
      maxLength: 8,
    }),
    share,
    share,
    (rows, margin, more) => {
      const means = rows.map((row) => Float64Array.from(row));
      const ranks = rows.map((_, i) => i + 1);
      const scores = means.map(mean);
      const choose = (margin: number) =>
        recommend({ sign: 1, ranks, scores, means }, {
          margin,
          confidence: 0.9,
        })!;
      const { rank, best } = choose(margin);
      assert(rank <= best);
      assert(choose(margin + more).rank <= rank);
    },
  ));
});

Deno.test("seededDraw() draws every position about equally often", () => {
  const counts = new Array(10).fill(0);
  const drawn = seededDraw(0)(10);
  assertEquals(drawn.length, 10);
  const draw = seededDraw(0);
  for (let i = 0; i < 10_000; i++) {
    for (const position of Array.from(draw(10))) counts[position]++;
  }
  // Five standard errors of a count of 100,000 draws.
  const error = 5 * Math.sqrt(100_000 * 0.1 * 0.9);
  assert(
    counts.every((count) => Math.abs(count - 10_000) < error),
    `${counts}`,
  );
});

/** Equal but for rounding. */
function near(found: number, expected: number): void {
  assertAlmostEquals(found, expected, 1e-12, `${found}, expected ${expected}`);
}
