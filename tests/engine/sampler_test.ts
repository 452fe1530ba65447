import { assertAlmostEquals, assertThrows } from "@std/assert";
import { seededRandom } from "../../lib/engine/random.ts";
import { rankSampler, type Sampler } from "../../lib/engine/ranks/sampler.ts";

const draws = 40_000;

Deno.test("rankSampler() draws every rank alike when uniform", () => {
  assertFrequencies({ kind: "uniform" }, Array(8).fill(1 / 8));
});

Deno.test("rankSampler() draws the geometric distribution, cut off at the maximum rank", () => {
  const p = 0.15;
  const mass = Array.from({ length: 8 }, (_, i) => p * (1 - p) ** i);
  const total = mass.reduce((sum, it) => sum + it, 0);
  assertFrequencies({ kind: "geometric", p }, mass.map((it) => it / total));
});

Deno.test("rankSampler() draws no rank below the lowest", () => {
  const none = [0, 0, 0, 0, 0];
  const uniform = [...none, 1 / 3, 1 / 3, 1 / 3];
  assertFrequencies({ kind: "uniform", minRank: 6 }, uniform);
  // 1, 1/2 and 1/4 of the mass, renormalized.
  const geometric = [...none, 4 / 7, 2 / 7, 1 / 7];
  assertFrequencies({ kind: "geometric", p: 0.5, minRank: 6 }, geometric);
});

Deno.test("rankSampler() draws listed ranks only", () => {
  assertFrequencies({ kind: "list", ranks: [1, 2, 8] }, [
    1 / 3,
    1 / 3,
    0,
    0,
    0,
    0,
    0,
    1 / 3,
  ]);
});

Deno.test("rankSampler() refuses what cannot be drawn, naming it", () => {
  const random = seededRandom(0, "rank");
  assertThrows(
    () => rankSampler({ kind: "list", ranks: [1, 9] }, 8, random),
    Error,
    "Rank 9 is not between 1 and the maximum rank 8",
  );
  assertThrows(
    () => rankSampler({ kind: "uniform", minRank: 9 }, 8, random),
    Error,
    "Rank 9 is not between 1 and the maximum rank 8",
  );
  assertThrows(
    () => rankSampler({ kind: "list", ranks: [] }, 8, random),
    Error,
    "empty",
  );
  assertThrows(
    () => rankSampler({ kind: "geometric", p: 1 }, 8, random),
    Error,
    "between 0 and 1, not 1",
  );
});

/** Within four standard deviations of each frequency. */
function assertFrequencies(
  sampler: Sampler,
  expected: readonly number[],
): void {
  const draw = rankSampler(sampler, 8, seededRandom(3, "rank"));
  const counts = Array<number>(8).fill(0);
  for (let i = 0; i < draws; i++) counts[draw() - 1]!++;
  counts.forEach((count, i) => {
    const probability = expected[i]!;
    const deviation = Math.sqrt(probability * (1 - probability) / draws);
    assertAlmostEquals(
      count / draws,
      probability,
      4 * deviation,
      `rank ${i + 1}: ${count / draws}, expected ${probability}`,
    );
  });
}
