import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  restoreRandom,
  seededRandom,
  shuffle,
} from "../../lib/engine/random.ts";

Deno.test("seededRandom() gives a different stream for every seed and every purpose", () => {
  const streams = new Set<string>();
  for (let seed = 0; seed < 1000; seed++) {
    for (const purpose of ["init", "shuffle", "rank", "dropout"]) {
      const random = seededRandom(seed, purpose);
      streams.add([random.next(), random.next()].join());
    }
  }
  assertEquals(streams.size, 4000);
});

Deno.test("seededRandom() is uniform", () => {
  const random = seededRandom(0, "uniform");
  const counts = Array<number>(16).fill(0);
  const draws = 160_000;
  for (let i = 0; i < draws; i++) counts[Math.floor(random.next() * 16)]!++;
  // Chi-squared with 15 degrees of freedom: 37.7 is its 0.999 quantile.
  const expected = draws / 16;
  const chi2 = counts.reduce(
    (sum, it) => sum + (it - expected) ** 2 / expected,
    0,
  );
  assert(chi2 < 37.7, `chi-squared ${chi2}`);
});

Deno.test("restoreRandom() continues from the state of the generator", () => {
  const random = seededRandom(3, "shuffle");
  random.next();
  const { state } = random;
  const next = [random.next(), random.next()];
  const restored = restoreRandom(state);
  assertEquals([restored.next(), restored.next()], next);
});

Deno.test("shuffle() keeps every item", () => {
  const items = Array.from({ length: 50 }, (_, i) => i);
  const shuffled = [...items];
  shuffle(shuffled, seededRandom(1, "shuffle"));
  assertNotEquals(shuffled, items);
  assertEquals(shuffled.toSorted((a, b) => a - b), items);
});
