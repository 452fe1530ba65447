import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  dylora,
  type DyloraSettings,
  Sampler,
} from "../../../lib/engine/schedules/dylora.ts";
import {
  methodName,
  provenanceOf,
} from "../../../lib/engine/schedules/registry.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import { dyloraObjective } from "../tiny_task.ts";

const SETTINGS: DyloraSettings = {
  mode: "all",
  sampler: { kind: "uniform" },
  scope: "model",
  sortAt: 0,
  sourceRanks: [],
};
const draws = 40_000;

Deno.test("DyLoRA draws every rank equally often when uniform", () => {
  assertFrequencies({ kind: "uniform" }, Array(8).fill(1 / 8));
});

Deno.test("DyLoRA draws the geometric distribution, truncated at the maximum rank", () => {
  const p = 0.15;
  const mass = Array.from({ length: 8 }, (_, i) => p * (1 - p) ** i);
  const total = mass.reduce((sum, it) => sum + it, 0);
  assertFrequencies({ kind: "geometric", p }, mass.map((it) => it / total));
});

Deno.test("DyLoRA draws a rank b in proportion to 1 / b when uniform in its logarithm", () => {
  const total = Array.from({ length: 8 }, (_, i) => 1 / (i + 1))
    .reduce((sum, it) => sum + it, 0);
  assertFrequencies(
    { kind: "log" },
    Array.from({ length: 8 }, (_, i) => 1 / (i + 1) / total),
  );
});

Deno.test("DyLoRA draws listed ranks only", () => {
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

Deno.test("DyLoRA refuses ranks that the adapter does not have", () => {
  assertThrows(
    () => dyloraObjective({ sampler: { kind: "list", ranks: [1, 9] } }),
    RangeError,
    "Rank 9 is not between 1 and the maximum rank 8",
  );
});

Deno.test("DyLoRA refuses a list that would leave the last rows untrained", () => {
  assertThrows(
    () => dyloraObjective({ sampler: { kind: "list", ranks: [1, 2, 4] } }),
    RangeError,
    "Ranks 1, 2, 4 must include the adapter's rank 8",
  );
});

Deno.test("Sampler requires a list that is not empty, and a probability between 0 and 1", () => {
  const placesOf = (sampler: unknown) =>
    Sampler.safeParse(sampler).error?.issues.map(({ path }) => path.join("."));
  assertEquals(placesOf({ kind: "list", ranks: [] }), ["ranks"]);
  assertEquals(placesOf({ kind: "geometric", p: 1 }), ["p"]);
  assertEquals(placesOf({ kind: "geometric", p: 0 }), ["p"]);
  assertEquals(placesOf({ kind: "geometric", p: 0.5 }), undefined);
});

Deno.test("DyLoRA serves every rank from the lowest that it drew", () => {
  const lowest = (sampler: Sampler) =>
    dylora.lowestRank({ ...SETTINGS, sampler }, 8);
  assertEquals(lowest({ kind: "uniform" }), 1);
  assertEquals(lowest({ kind: "list", ranks: [8, 2, 4] }), 2);
});

Deno.test("DyLoRA says in words how a training drew ranks", () => {
  const inWords = (
    sampler: Sampler,
    others: Partial<DyloraSettings> = {},
  ) => dylora.drawsInWords!({ ...SETTINGS, sampler, ...others });
  assertEquals(inWords({ kind: "uniform" }), "uniformly for each step");
  assertEquals(
    inWords({ kind: "geometric", p: 0.15 }, { mode: "frozen" }),
    "geometrically (p = 0.15) for each step, mode frozen",
  );
  assertEquals(
    inWords({ kind: "list", ranks: [2, 8] }, {
      scope: "example",
      sortAt: 0.55,
    }),
    "from 2 8 for each example, after the rows were sorted at 55 % of the steps",
  );
  assertEquals(
    inWords({ kind: "log" }, { sortAt: 0.5, sourceRanks: [64, 32] }),
    "uniformly in the logarithm for each step, after the rows were sorted from rank 64, 32 at 50 % of the steps",
  );
  assertEquals(
    inWords({ kind: "uniform" }, { sortAt: 1 }),
    "none, the rows were sorted after the last step",
  );
});

Deno.test("DyLoRA that sorts after its last step has the name of a LoRA by SVD", () => {
  const nameOf = (sortAt: number) =>
    methodName(provenanceOf({
      method: { ...SETTINGS, name: dylora.name, sortAt },
      imported: false,
      reducedBy: null,
    }));
  assertEquals(nameOf(1), "lora-svd");
  assertEquals(nameOf(0.6), "dylora");
});

/** Within four standard deviations of each frequency. */
function assertFrequencies(
  sampler: Sampler,
  expected: readonly number[],
): void {
  const objective = dyloraObjective({ sampler });
  const random = seededRandom(3, "rank");
  const counts = Array<number>(8).fill(0);
  for (let i = 0; i < draws; i++) counts[objective.draw(random, 1)[0]! - 1]!++;
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
