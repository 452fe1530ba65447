import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import {
  bestStep,
  evenRank,
  greedyRanks,
} from "../../lib/stages/rank_search.ts";

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

Deno.test("greedyRanks() finds the best choice where each further row of a module helps less", async () => {
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
          { modules: gains.length, largest: 3, total },
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

Deno.test("greedyRanks() takes the first of equals, and bestStep() the cheapest", async () => {
  const way = await greedyRanks(
    { modules: 2, largest: 2, total: 4 },
    (choices) => Promise.resolve(choices.map(() => 1)),
  );
  assertEquals(way.map(({ ranks }) => ranks), [[1, 1], [2, 1], [2, 2]]);
  assertEquals(bestStep(way).ranks, [1, 1]);
});

Deno.test("greedyRanks() refuses losses that are not numbers", async () => {
  await assertRejects(
    () =>
      greedyRanks(
        { modules: 2, largest: 2, total: 3 },
        (choices) => Promise.resolve(choices.map(() => NaN)),
      ),
    Error,
    "A loss is not a number (NaN, NaN)",
  );
});

Deno.test("greedyRanks() refuses a budget below rank 1 in every module", async () => {
  await assertRejects(
    () =>
      greedyRanks({ modules: 3, largest: 2, total: 2 }, () => {
        throw new Error("not to be called");
      }),
    Error,
    "A sum of ranks of 2 does not suffice for rank 1 in each of 3 modules",
  );
});

Deno.test("evenRank() goes by the budget, not by what a choice left of it", () => {
  const of = (total: number) => evenRank({ modules: 12, largest: 4, total });
  // A choice of 23 would leave one of 24, and be compared with rank 1.
  assertEquals(of(24), 2);
  assertEquals(of(23), 1);
  assertEquals(of(1000), 4);
});
