/** The recommended rank beside the Monte Carlo error of its bound. */
import { assert, assertEquals } from "@std/assert";
import { compare } from "../../lib/report/compare.ts";
import type { Recommendation } from "../../lib/report/report.ts";
import {
  bootstrap,
  quantile,
  seededDraw,
} from "../../lib/report/statistics.ts";
import { OPTIONS, resultOf } from "./results.ts";

const COUNT = 200;
const SEEDS = Array.from({ length: 20 }, (_, seed) => seed);

/**
 * Of 200 examples, rank 1 is wrong on 23 on which rank 8 is right. So of those
 * that a replicate draws, a binomial number is lost: at most 30 with a
 * probability of 0.9474, at most 31 with 0.9659.
 */
const RESULT = resultOf("sst2", "dylora", { 1: 43, 8: 20 }, {
  labels: Float32Array.from({ length: COUNT }, (_, i) => i % 2),
});

/**
 * Recommendations by 20 seeds of the bootstrap, if rank 1 may lose `lost`
 * examples.
 */
function recommendations(lost: number): Recommendation[] {
  return SEEDS.map((seed) => {
    const { comparisons: [comparison] } = compare([RESULT], {
      ...OPTIONS,
      replicates: 1000,
      margin: lost / COUNT,
      draw: seededDraw(seed),
    });
    return comparison!.methods[0]!.recommendation!;
  });
}

Deno.test("compare() recommends the larger rank in 20 repetitions with other draws, where the bounds of 1,000 replicates lie on both sides of the margin", () => {
  const { labels, problem, ranks } = RESULT;
  const bounds = SEEDS.map((seed) => {
    const trainings = ranks.map(({ predictions }) => ({
      seeds: [0],
      predictions: [predictions],
    }));
    const scorer = problem.scorer("accuracy", labels);
    const [first, best] = bootstrap(
      trainings,
      labels,
      scorer,
      1000,
      seededDraw(seed),
    );
    return quantile(first!.map((score, r) => best![r]! - score), 0.95);
  });
  const within = bounds.filter((it) => it < 30.5 / COUNT).length;
  assert(within > 2 && within < 18, `${within} of 20 within the margin`);
  for (const { rank, margin, evidence } of recommendations(30)) {
    const { boundAtMost, sufficient } = evidence[0]!;
    assert(boundAtMost > margin);
    assertEquals([rank, sufficient], [8, false]);
  }
});

Deno.test("compare() recommends the smaller rank in 20 repetitions with other draws, where 10,000 replicates show that its bound is within the margin", () => {
  for (const { rank, margin, evidence } of recommendations(31)) {
    const { bound, boundAtMost, sufficient } = evidence[0]!;
    assert(bound <= boundAtMost && boundAtMost <= margin + 1e-12);
    assertEquals([rank, sufficient], [1, true]);
  }
});
