import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { drawHoldout, type Example } from "../../lib/data/example.ts";

/** Examples with these texts and labels. */
function examplesOf(
  rows: readonly (readonly [text: string, label: number])[],
): Example[] {
  return rows.map(([text, label], index) => ({ index, text, label }));
}

/** Each class is a stratum. */
const ofClass = ({ label }: Example) => [label!];

/** Numbers of examples of each class. */
function countsOf(examples: Iterable<Example>): Record<number, number> {
  const classes = Map.groupBy(examples, ({ label }) => label!);
  return Object.fromEntries(
    [...classes].map(([label, { length }]) => [label, length]),
  );
}

Deno.test("drawHoldout() draws the same share of each class, rounded so that the sum is that of all", async () => {
  const examples = examplesOf(
    Array.from(
      { length: 103 },
      (_, i) => [`text ${i}`, i < 80 ? 0 : i % 2 + 1],
    ),
  );
  const held = await drawHoldout(examples, 0.1, 0, ofClass);
  assertEquals(held.size, 11);
  assertEquals(countsOf(held), { 0: 8, 1: 2, 2: 1 });
  const most = await drawHoldout(examples, 0.99, 0, ofClass);
  const left = examples.filter((it) => !most.has(it));
  assertEquals(countsOf(left), { 0: 1, 1: 1, 2: 1 });
});

Deno.test("drawHoldout() depends on seed and texts, not on their order, and never divides equal texts", async () => {
  const label = fc.nat(2);
  const row = fc.tuple(fc.nat(30).map((it) => `text ${it}`), label);
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { minLength: 4, maxLength: 80 }),
      fc.double({ min: 0.05, max: 0.5 }),
      fc.boolean(),
      async (rows, share, byClass) => {
        const examples = examplesOf(rows);
        const stratum = byClass ? ofClass : () => [0];
        const held = await drawHoldout(examples, share, 1, stratum);
        const texts = new Set([...held].map(({ text }) => text));
        for (const example of examples) {
          assertEquals(held.has(example), texts.has(example.text));
        }
        assert(held.size < examples.length);
        assertEquals(await drawHoldout(examples, share, 1, stratum), held);
        // The first label of a text that has several decides on its class.
        const scores = await drawHoldout(
          examples.toReversed(),
          share,
          1,
          () => [0],
        );
        const same = await drawHoldout(examples, share, 1, () => [0]);
        assertEquals(
          [...scores].map(({ index }) => index).sort(),
          [...same].map(({ index }) => index).sort(),
        );
      },
    ),
    { numRuns: 100 },
  );
});

Deno.test("drawHoldout() draws others with another seed", async () => {
  const examples = examplesOf(
    Array.from({ length: 100 }, (_, i) => [`text ${i}`, i % 2]),
  );
  const [a, b] = await Promise.all(
    [0, 1].map((seed) => drawHoldout(examples, 0.2, seed, ofClass)),
  );
  assertEquals([a!.size, b!.size], [20, 20]);
  assert(a!.intersection(b!).size < 15);
});

Deno.test("drawHoldout() draws about the same share of each label of examples that have several or none, and leaves one of each for training", async () => {
  // Labels 0 to 3, of which each is rarer than the one before.
  const examples = Array.from({ length: 200 }, (_, index): Example => {
    const marks = [2, 3, 7, 50].map((every) => Number(index % every === 0));
    return { index, text: `text ${index}`, targets: marks };
  });
  const only = { index: 200, text: "only", targets: [0, 0, 0, 0, 1] };
  const all = [...examples, only];
  const strata = ({ targets = [] }: Example) =>
    targets.flatMap((mark, label) => mark === 1 ? [label] : []);
  const held = await drawHoldout(all, 0.2, 0, strata);
  assert(Math.abs(held.size - 0.2 * all.length) <= 4, String(held.size));
  for (const [label, count] of [100, 67, 29, 4].entries()) {
    const drawn = [...held].filter(({ targets }) => targets![label] === 1);
    const difference = Math.abs(drawn.length - 0.2 * count);
    assert(difference <= 2, `label ${label}: ${drawn.length} of ${count}`);
  }
  assert(!held.has(only));
  const shuffled = await drawHoldout(all.toReversed(), 0.2, 0, strata);
  assertEquals(shuffled, held);
});
