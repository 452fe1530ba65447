import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { GLUE_TASKS, type GlueTask } from "../../lib/glue/benchmark.ts";
import { readParquet, unpackSnappy } from "../../lib/glue/parquet.ts";
import { readTsv } from "../../lib/glue/tsv.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const hubFile = (task: string, split: string) =>
  join(fixtures, "tiny-hub", task, `${split}-00000-of-00001.parquet`);

for (const name of ["rte", "stsb", "mnli"] as const) {
  Deno.test(`readParquet() reads from the hub's files of ${name} the same as from the TSV files`, async () => {
    const task: GlueTask = GLUE_TASKS[name];
    for (const [split, file] of Object.entries(task.tsvFiles)) {
      const fromHub = await readParquet(hubFile(name, split), task, split);
      const path = join(fixtures, "tiny-glue", task.title, file);
      const { examples } = await readTsv(path, task, split);
      const expected = examples.slice(0, fromHub.length).map((example) =>
        name === "stsb" && example.label !== undefined
          ? { ...example, label: Math.fround(example.label) }
          : example
      );
      assert(fromHub.length > 0);
      assertEquals(fromHub, expected, split);
    }
  });
}

Deno.test("unpackSnappy() takes no memory for a page that says it is longer than it can be", () => {
  const page = new Uint8Array(1000);
  const before = Deno.memoryUsage().external;
  assertThrows(
    () => unpackSnappy(page, 2 ** 31 - 1),
    Error,
    "a page of 1000 bytes cannot unpack to 2147483647 bytes",
  );
  assert(Deno.memoryUsage().external - before < 2 ** 20);
});

Deno.test("unpackSnappy() refuses a literal whose length of four bytes would be negative", () => {
  // Unpacked length 5, then a literal of 2^32 - 5 bytes.
  const page = Uint8Array.of(5, 63 << 2, 0xfa, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5);
  assertThrows(
    () => unpackSnappy(page, 5),
    Error,
    "a literal of a page is longer than the page",
  );
});

Deno.test("readParquet() names a file of another task, and one that is not Parquet", async () => {
  const path = hubFile("mnli", "train");
  const { message } = await assertRejects(
    () => readParquet(path, GLUE_TASKS.rte, "train"),
    SyntaxError,
    path,
  );
  assertStringIncludes(message, "sentence1");
  const other = join(fixtures, "tiny-glue/RTE/dev.tsv");
  await assertRejects(
    () => readParquet(other, GLUE_TASKS.rte, "train"),
    Error,
    'dev.tsv" as parquet',
  );
});

Deno.test("readParquet() refuses an unpublished label in a labelled split, and a class out of range, with the row", async () => {
  await assertRejects(
    () => readParquet(hubFile("rte", "test"), GLUE_TASKS.rte, "train"),
    Error,
    'row 1: Column "label" has the value -1, which is invalid for RTE',
  );
  const binary: GlueTask = { ...GLUE_TASKS.mnli, labels: ["no", "yes"] };
  assertIsError(
    await assertRejects(() =>
      readParquet(hubFile("mnli", "train"), binary, "train")
    ),
    Error,
    /row \d+: Column "label" has the value 2/,
  );
});
