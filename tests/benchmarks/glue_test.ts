import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  GLUE_TASKS,
  type GlueTask,
  readSplit,
} from "../../lib/benchmarks/glue.ts";

const BOM = "\uFEFF";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const hubFile = (task: string, split: string) =>
  join(fixtures, "tiny-hub", task, `${split}-00000-of-00001.parquet`);

async function read(text: string | Uint8Array, task: GlueTask, split: string) {
  const path = await Deno.makeTempFile({ suffix: ".tsv" });
  try {
    const bytes = typeof text === "string"
      ? new TextEncoder().encode(text)
      : text;
    await Deno.writeFile(path, bytes);
    return await readSplit(path, task, split);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("readSplit() reads CoLA's labelled files, which have no header, and its test file, which has one", async () => {
  const dev = await read(
    "gj04\t1\t\tThey drank the pub dry.\ngj04\t0\t*\tThey drank the pub.",
    GLUE_TASKS.cola,
    "validation",
  );
  assertEquals(dev.examples, [
    { index: 0, text: "They drank the pub dry.", label: 1 },
    { index: 1, text: "They drank the pub.", label: 0 },
  ]);
  const test = await read(
    "index\tsentence\n7\tBill whistled.\n",
    GLUE_TASKS.cola,
    "test",
  );
  assertEquals(test.examples, [{ index: 7, text: "Bill whistled." }]);
});

Deno.test("readSplit() drops the byte-order mark of MRPC and keeps quotes unchanged", async () => {
  const { examples } = await read(
    `${BOM}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n` +
      `1\t10\t20\t" It is , he said .\tHe said : "" it is\u2028so .\r\n`,
    GLUE_TASKS.mrpc,
    "train",
  );
  assertEquals(examples, [{
    index: 0,
    text: '" It is , he said .',
    pair: 'He said : "" it is\u2028so .',
    label: 1,
  }]);
});

Deno.test("readSplit() finds STS-B's score in the last of ten columns", async () => {
  const header =
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore";
  const { examples } = await read(
    `${header}\n0\tmain-news\tMSRpar\t2012\t5\tnone\tnone\tA "b\tC d"\t3.250\n`,
    GLUE_TASKS.stsb,
    "train",
  );
  assertEquals(examples, [
    { index: 0, text: 'A "b', pair: 'C d"', label: 3.25 },
  ]);
});

Deno.test("readSplit() turns class names into the hub's numbers", async () => {
  const { examples } = await read(
    "index\tsentence1\tsentence2\tlabel\n" +
      "0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n",
    GLUE_TASKS.rte,
    "validation",
  );
  assertEquals(examples.map(({ label }) => label), [1, 0]);
});

Deno.test("readSplit() leaves out the lines of QQP that are broken in two, counts them and keeps the numbering", async () => {
  const { examples, broken } = await read(
    "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n" +
      "9\t1\t2\tWhat?\tWhy?\t0\n8\t3\t4\tHow\n\nso?\tWhen?\t1\n7\t5\t6\tWho?\tHow?\t1\n",
    GLUE_TASKS.qqp,
    "train",
  );
  assertEquals(broken, 3);
  assertEquals(examples.map(({ index }) => index), [0, 4]);
});

const rte = "index\tsentence1\tsentence2\tlabel\n";
for (
  const [fault, text, task, message] of [
    [
      "an unknown class",
      `${rte}0\ta\tb\tentailment\n1\ta\tb\tmaybe\n`,
      GLUE_TASKS.rte,
      /tsv:3: Label "maybe" is not one of the classes \("entailment", "not_entailment"\)$/,
    ],
    [
      "a missing column",
      `${rte}0\ta\tentailment\n`,
      GLUE_TASKS.rte,
      /tsv:2:5: Expected 4 columns separated by tabs, found 3$/,
    ],
    [
      "the file of another task",
      "sentence\tlabel\ngood\t1\n",
      GLUE_TASKS.rte,
      /tsv" has no column "sentence1"; it has "sentence", "label"$/,
    ],
    [
      "a score that is no number",
      "sentence1\tsentence2\tscore\na\tb\t5,5\n",
      GLUE_TASKS.stsb,
      /tsv:2: Expected a number as the label, found "5,5"$/,
    ],
    [
      "an empty score",
      "sentence1\tsentence2\tscore\na\tb\t\n",
      GLUE_TASKS.stsb,
      /tsv:2: Expected a number as the label, found nothing$/,
    ],
    ["a file without examples", rte, GLUE_TASKS.rte, /tsv" has no rows$/],
    [
      "an empty file",
      "",
      GLUE_TASKS.rte,
      /no column "sentence1"; it has none$/,
    ],
    [
      "bytes that are not UTF-8",
      Uint8Array.of(0x66, 0xfc, 0x72),
      GLUE_TASKS.rte,
      /is not valid UTF-8 in line 1; name its encoding/,
    ],
  ] as const
) {
  Deno.test(`readSplit() refuses ${fault}, with its place`, async () => {
    assertIsError(
      await assertRejects(() => read(text, task, "train")),
      SyntaxError,
      message,
    );
  });
}

for (const name of ["rte", "stsb", "mnli"] as const) {
  Deno.test(`readSplit() reads from the hub's files of ${name} the same as from the TSV files`, async () => {
    const task: GlueTask = GLUE_TASKS[name];
    for (const [split, file] of Object.entries(task.tsvFiles)) {
      const { examples: fromHub } = await readSplit(
        hubFile(name, split),
        task,
        split,
      );
      const path = join(fixtures, "tiny-glue", task.title, file);
      const { examples } = await readSplit(path, task, split);
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

Deno.test("readSplit() names a file of the hub that is of another task", async () => {
  const path = hubFile("mnli", "train");
  await assertRejects(
    () => readSplit(path, GLUE_TASKS.rte, "train"),
    SyntaxError,
    `"${path}" has no column "sentence1"`,
  );
});

Deno.test("readSplit() refuses an unpublished label in a labelled split, and a class out of range, with the row", async () => {
  await assertRejects(
    () => readSplit(hubFile("rte", "test"), GLUE_TASKS.rte, "train"),
    SyntaxError,
    'row 1: Label "-1" is not one of the classes ("0", "1")',
  );
  const binary: GlueTask = { ...GLUE_TASKS.mnli, labels: ["no", "yes"] };
  assertIsError(
    await assertRejects(() =>
      readSplit(hubFile("mnli", "train"), binary, "train")
    ),
    SyntaxError,
    /row \d+: Label "2" is not one of the classes/,
  );
});

const glue = Deno.env.get("DYLORA_GLUE");
for (const task of Object.values<GlueTask>(GLUE_TASKS)) {
  const folder = glue && join(glue, task.title);
  Deno.test({
    name: `readSplit() reads every line of the real ${task.title}`,
    ignore: !folder || !existsSync(folder),
    async fn() {
      for (const [split, file] of Object.entries(task.tsvFiles)) {
        const path = join(folder!, file);
        if (!existsSync(path)) continue;
        const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
        const header = task.tsvHeader && split !== "test" ? 0 : 1;
        const { examples, broken } = await readSplit(path, task, split);
        assertEquals(examples.length + broken, lines.length - header, split);
        assert(broken < 10, split);
        assertEquals(examples.at(-1)!.index, lines.length - header - 1);
        assert(lines.at(-1)!.includes(examples.at(-1)!.text));
      }
    },
  });
}
