import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { GLUE_TASKS, type GlueTask } from "../../lib/benchmarks/glue.ts";
import { classesOf, toExamples } from "../../lib/data/own_data.ts";
import { readTable } from "../../lib/data/table.ts";
import { readParquet } from "../../lib/benchmarks/glue_parquet.ts";
import { readTsv } from "../../lib/benchmarks/tsv.ts";
import { mutatedBytes, mutatedText, survives, testProperty } from "../fuzz.ts";
import { withFolder } from "../tasks/run_task.ts";

function withFile(name: string, test: (path: string) => Promise<void>) {
  return withFolder((folder) => test(join(folder, name)));
}

const PIECES = fc.oneof(
  fc.constantFrom(
    ...'\t \n \r\n \r \uFEFF " "" , ; { } [ ] : null \0 \x1b \u2028 0 1 -1 1e999 5.5 NaN label text entailment __proto__'
      .split(" "),
    "\n\n",
  ),
  fc.string({ maxLength: 5, unit: "binary" }),
  fc.nat(3000).map((length) => "x".repeat(length)),
);

/** Examples are texts with a class or a score that the task has. */
function checkExamples(
  examples: readonly { index: number; text: string; label?: number }[],
  { labels }: Pick<GlueTask, "labels">,
): void {
  for (const { index, text, label } of examples) {
    assert(Number.isSafeInteger(index) && index >= 0);
    assertEquals(typeof text, "string");
    assert(label !== undefined && label >= 0);
    assert(labels === null ? label <= 5 : label < labels.length);
  }
}

const GLUE_FILES: Readonly<Record<string, [GlueTask, string]>> = {
  CoLA: [GLUE_TASKS.cola, "a\t1\t\tA film.\nb\t0\t*\tfilm A.\n"],
  MRPC: [
    GLUE_TASKS.mrpc,
    'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\t"A\tB\n0\t3\t4\tC\tD\n',
  ],
  "STS-B": [
    GLUE_TASKS.stsb,
    "index\tsentence1\tsentence2\tscore\n0\tA\tB\t2.5\n1\tC\tD\t0\n",
  ],
};

for (const [name, [task, sound]] of Object.entries(GLUE_FILES)) {
  testProperty(
    `readTsv() takes or refuses any text as ${name}`,
    () =>
      withFile("train.tsv", async (path) => {
        await survives(mutatedText(sound, PIECES), path, async (text) => {
          Deno.writeTextFileSync(path, text);
          checkExamples((await readTsv(path, task, "train")).examples, task);
        });
      }),
  );
}

testProperty(
  "readTsv() takes or refuses any bytes",
  () =>
    withFile("train.tsv", async (path) => {
      const [task, sound] = GLUE_FILES.MRPC!;
      const bytes = mutatedBytes(new TextEncoder().encode(sound));
      await survives(bytes, path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        checkExamples((await readTsv(path, task, "train")).examples, task);
      });
    }),
);

const OWN_FILES = {
  "data.tsv": "text\tlabel\nA film.\tgood\nAnother.\tbad\n",
  "data.csv": 'text,label\n"A ""film"", this.",good\nAnother.,bad\n',
  "data.jsonl":
    '{"text":"A film.","label":"good"}\n{"text":"Another.","label":"bad"}\n',
};

for (const [name, sound] of Object.entries(OWN_FILES)) {
  testProperty(
    `readTable() takes or refuses any text as ${name}`,
    () =>
      withFile(name, async (path) => {
        await survives(mutatedText(sound, PIECES), path, async (text) => {
          Deno.writeTextFileSync(path, text);
          const rows = await readTable(path, ["text", "label"]);
          const labels = classesOf(rows);
          const examples = toExamples(rows, { kind: "classes", names: labels });
          checkExamples(examples, { labels });
        });
      }),
  );
}

const PARQUET = Deno.readFileSync(fileURLToPath(import.meta.resolve(
  "../../fixtures/tiny-hub/rte/validation-00000-of-00001.parquet",
)));

testProperty(
  "readParquet() takes or refuses a file with any damage",
  () =>
    withFile("rte.parquet", async (path) => {
      await survives(mutatedBytes(PARQUET), path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        const examples = await readParquet(path, GLUE_TASKS.rte, "validation");
        checkExamples(examples, GLUE_TASKS.rte);
      });
    }),
);

testProperty(
  "readTable() takes or refuses a parquet file with any damage",
  () =>
    withFile("own.parquet", async (path) => {
      await survives(mutatedBytes(PARQUET), path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        const rows = await readTable(path, ["sentence1", "label"]);
        const labels = classesOf(rows);
        toExamples(rows, { kind: "classes", names: labels });
      });
    }),
);
