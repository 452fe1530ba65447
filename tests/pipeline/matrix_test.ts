import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { expandMatrix, stageId } from "../../lib/pipeline/matrix.ts";

/** The example of GitHub's documentation of `include`. */
Deno.test("expandMatrix() applies 'include' as GitHub documents it", () => {
  const combinations = expandMatrix({
    dimensions: { fruit: ["apple", "pear"], animal: ["cat", "dog"] },
    include: [
      { color: "green" },
      { color: "pink", animal: "cat" },
      { fruit: "apple", shape: "circle" },
      { fruit: "banana" },
      { fruit: "banana", animal: "cat" },
    ],
    exclude: [],
  });
  assertEquals(combinations.map((it) => it.values), [
    { fruit: "apple", animal: "cat", color: "pink", shape: "circle" },
    { fruit: "apple", animal: "dog", color: "green", shape: "circle" },
    { fruit: "pear", animal: "cat", color: "pink" },
    { fruit: "pear", animal: "dog", color: "green" },
    { fruit: "banana" },
    { fruit: "banana", animal: "cat" },
  ]);
});

Deno.test("expandMatrix() keeps what 'include' adds out of the place", () => {
  const [combination] = expandMatrix({
    dimensions: { glue: ["mrpc"] },
    include: [{ glue: "mrpc", lr: 4e-4 }],
    exclude: [],
  });
  assertEquals(combination, {
    coordinates: { glue: "mrpc" },
    values: { glue: "mrpc", lr: 4e-4 },
  });
});

Deno.test("expandMatrix() makes combinations of 'include' alone", () => {
  const combinations = expandMatrix({
    dimensions: {},
    include: [{ glue: "mrpc", rank: 4, tuned: { lr: 1 } }, { glue: "cola" }],
    exclude: [],
  });
  assertEquals(combinations.map((it) => it.coordinates), [
    { glue: "mrpc", rank: 4 },
    { glue: "cola" },
  ]);
});

Deno.test("expandMatrix() removes what 'exclude' names in part or in full", () => {
  const combinations = expandMatrix({
    dimensions: { os: ["a", "b"], version: [1, 2], size: ["s", "l"] },
    include: [],
    exclude: [{ os: "a", version: 1 }, { os: "b", version: 2, size: "l" }],
  });
  assertEquals(combinations.map((it) => Object.values(it.coordinates).join()), [
    "a,2,s",
    "a,2,l",
    "b,1,s",
    "b,1,l",
    "b,2,s",
  ]);
});

Deno.test("expandMatrix() makes every combination once, the last dimension fastest", () => {
  const values = fc.uniqueArray(fc.integer({ min: 0, max: 9 }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(fc.property(values, values, values, (a, b, c) => {
    const combinations = expandMatrix({
      dimensions: { a, b, c },
      include: [],
      exclude: [],
    });
    const expected = a.flatMap((x) =>
      b.flatMap((y) => c.map((z) => ({ a: x, b: y, c: z })))
    );
    assertEquals(combinations.map((it) => it.coordinates), expected);
  }));
});

Deno.test("stageId() writes text alone and numbers with their dimension", () => {
  assertEquals(
    stageId("train", { glue: "mrpc", seed: 0, rank: 4 }),
    "train@mrpc,seed=0,rank=4",
  );
  assertEquals(stageId("model", {}), "model");
});
