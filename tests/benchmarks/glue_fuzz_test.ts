import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import {
  GLUE_TASKS,
  type GlueTask,
  readSplit,
} from "../../lib/benchmarks/glue.ts";
import { mutatedBytes, mutatedText, survives, testProperty } from "../fuzz.ts";
import { withFolder } from "../tasks/run_task.ts";

function withFile(name: string, test: (path: string) => Promise<void>) {
  return withFolder((folder) => test(join(folder, name)));
}

const PIECES = fc.oneof(
  fc.constantFrom(
    ...'\t \n \r\n \r \uFEFF " "" 0 1 -1 1e999 5.5 NaN label index'.split(" "),
    "\n\n",
  ),
  fc.string({ maxLength: 5, unit: "binary" }),
);

/**
 * Reads training examples and checks that they are texts with a class or a
 * score.
 */
async function check(path: string, task: GlueTask): Promise<void> {
  const { examples } = await readSplit(path, task, "train");
  for (const { index, text, label } of examples) {
    assert(Number.isSafeInteger(index) && index >= 0);
    assertEquals(typeof text, "string");
    if (task.labels === null) assert(Number.isFinite(label));
    else assert(task.labels[label!] !== undefined);
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
    `readSplit() takes or refuses any text as ${name}`,
    () =>
      withFile("train.tsv", async (path) => {
        await survives(mutatedText(sound, PIECES), path, async (text) => {
          Deno.writeTextFileSync(path, text);
          await check(path, task);
        });
      }),
  );
}

testProperty(
  "readSplit() takes or refuses any bytes",
  () =>
    withFile("train.tsv", async (path) => {
      const [task, sound] = GLUE_FILES.MRPC!;
      const bytes = mutatedBytes(new TextEncoder().encode(sound));
      await survives(bytes, path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        await check(path, task);
      });
    }),
);

const PARQUET = Deno.readFileSync(fileURLToPath(import.meta.resolve(
  "../../fixtures/tiny-hub/rte/train-00000-of-00001.parquet",
)));

testProperty(
  "readSplit() takes or refuses a parquet file with any damage",
  () =>
    withFile("rte.parquet", async (path) => {
      await survives(mutatedBytes(PARQUET), path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        await check(path, GLUE_TASKS.rte);
      });
    }),
);
