import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { toExamples } from "../../lib/data/labels.ts";
import { readTable } from "../../lib/data/table.ts";
import { columnOf, labelsOf } from "../../lib/problems/registry.ts";
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
          const labels = columnOf("classification").namesIn(rows)!;
          const examples = toExamples(
            rows,
            labelsOf({ problem: "classification", labels }),
          );
          for (const { text, label } of examples) {
            assertEquals(typeof text, "string");
            assert(labels[label!] !== undefined);
          }
        });
      }),
  );
}

const PARQUET = Deno.readFileSync(fileURLToPath(import.meta.resolve(
  "../../fixtures/tiny-hub/rte/validation-00000-of-00001.parquet",
)));

testProperty(
  "readTable() takes or refuses a parquet file with any damage",
  () =>
    withFile("own.parquet", async (path) => {
      await survives(mutatedBytes(PARQUET), path, async (bytes) => {
        Deno.writeFileSync(path, bytes);
        const rows = await readTable(path, ["sentence1", "label"]);
        const labels = columnOf("classification").namesIn(rows)!;
        toExamples(rows, labelsOf({ problem: "classification", labels }));
      });
    }),
);
