import assert from "node:assert/strict";
import { join } from "node:path";
import { GLUE_TASKS, type GlueTask } from "../../lib/glue/benchmark.ts";
import { readParquet } from "../../lib/glue/parquet.ts";
import { readTsv } from "../../lib/glue/tsv.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const hubFile = (task: string, split: string) =>
  join(fixtures, "tiny-hub", task, `${split}-00000-of-00001.parquet`);

for (const name of ["rte", "stsb", "mnli"] as const) {
  Deno.test(`readParquet() finds in the hub's files of ${name} what the TSV files hold`, async () => {
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
      assert.deepEqual(fromHub, expected, split);
    }
  });
}

Deno.test("readParquet() refuses a file of another task, or none, by name", async () => {
  const path = hubFile("mnli", "train");
  await assert.rejects(
    readParquet(path, GLUE_TASKS.rte, "train"),
    (error) =>
      error instanceof SyntaxError && error.message.includes(path) &&
      error.message.includes("sentence1"),
  );
  const other = join(fixtures, "tiny-glue/RTE/dev.tsv");
  await assert.rejects(
    readParquet(other, GLUE_TASKS.rte, "train"),
    /dev\.tsv" as parquet/,
  );
});

Deno.test("readParquet() refuses an unpublished label in a labelled split, and a class out of range, with the row", async () => {
  await assert.rejects(
    readParquet(hubFile("rte", "test"), GLUE_TASKS.rte, "train"),
    /row 1: Column "label" has the value -1, which is invalid for RTE/,
  );
  const binary: GlueTask = { ...GLUE_TASKS.mnli, labels: ["no", "yes"] };
  await assert.rejects(
    readParquet(hubFile("mnli", "train"), binary, "train"),
    /row \d+: Column "label" has the value 2/,
  );
});
