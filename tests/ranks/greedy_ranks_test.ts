import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import {
  bestStep,
  evenRank,
  greedyRanks,
} from "../../lib/ranks/greedy_ranks.ts";

/** The smallest loss of all choices within the budget, by trying each of them. */
function smallest(
  gains: readonly (readonly number[])[],
  largest: number,
  total: number,
): number {
  let best = Infinity;
  const visit = (ranks: readonly number[]) => {
    const sum = ranks.reduce((a, b) => a + b, 0);
    if (sum + gains.length - ranks.length > total) return;
    if (ranks.length === gains.length) {
      best = Math.min(best, lossOf(gains, ranks));
      return;
    }
    for (let rank = 1; rank <= largest; rank++) visit([...ranks, rank]);
  };
  visit([]);
  return best;
}

function lossOf(
  gains: readonly (readonly number[])[],
  ranks: readonly number[],
): number {
  return ranks.reduce(
    (loss, rank, i) =>
      gains[i]!.slice(0, rank).reduce((rest, gain) => rest - gain, loss),
    1000,
  );
}

Deno.test("greedyRanks() finds the best choice if each further row of a module helps less", async () => {
  const gain = fc.array(fc.integer({ min: 0, max: 9 }), {
    minLength: 3,
    maxLength: 3,
  }).map((gains) => gains.sort((a, b) => b - a));
  await fc.assert(
    fc.asyncProperty(
      fc.array(gain, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 8 }),
      async (gains, more) => {
        const total = gains.length + more;
        const way = await greedyRanks(
          { costs: gains.map(() => 1), largest: 3, total },
          (choices) =>
            Promise.resolve(choices.map((ranks) => lossOf(gains, ranks))),
        );
        const { loss, ranks } = bestStep(way);
        assertEquals(loss, smallest(gains, 3, total));
        assert(ranks.reduce((a, b) => a + b, 0) <= total);
        assert(ranks.every((rank) => rank >= 1 && rank <= 3));
      },
    ),
    { seed: 1 },
  );
});

Deno.test("greedyRanks() takes the first of equal losses, bestStep() the cheapest", async () => {
  const way = await greedyRanks(
    { costs: [1, 1], largest: 2, total: 4 },
    (choices) => Promise.resolve(choices.map(() => 1)),
  );
  assertEquals(way.map(({ ranks }) => ranks), [[1, 1], [2, 1], [2, 2]]);
  assertEquals(bestStep(way).ranks, [1, 1]);
});

Deno.test("greedyRanks() rejects NaN losses", async () => {
  await assertRejects(
    () =>
      greedyRanks(
        { costs: [1, 1], largest: 2, total: 3 },
        (choices) => Promise.resolve(choices.map(() => NaN)),
      ),
    Error,
    "A loss is NaN (losses NaN, NaN)",
  );
});

Deno.test("greedyRanks() rejects a budget below rank 1 in every module", async () => {
  await assertRejects(
    () =>
      greedyRanks({ costs: [1, 1, 1], largest: 2, total: 2 }, () => {
        throw new Error("not to be called");
      }),
    Error,
    "A budget of 2 parameters is too small: rank 1 in each of 3 modules takes 3",
  );
});

Deno.test("evenRank() depends on the budget, not on what a choice spends of it", () => {
  const of = (total: number) =>
    evenRank({ costs: Array(12).fill(1), largest: 4, total });
  // A choice of 23 would leave one of 24, and be compared with rank 1.
  assertEquals(of(24), 2);
  assertEquals(of(23), 1);
  assertEquals(of(1000), 4);
});

Deno.test("greedyRanks() raises only modules whose rows still fit the budget", async () => {
  const way = await greedyRanks(
    { costs: [1, 5], largest: 4, total: 9 },
    // The dear module would help more.
    (choices) =>
      Promise.resolve(choices.map(([cheap, dear]) => -cheap! - 10 * dear!)),
  );
  assertEquals(way.map(({ ranks }) => ranks), [
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 1],
  ]);
});
