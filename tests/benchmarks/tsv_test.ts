import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { GLUE_TASKS, type GlueTask } from "../../lib/benchmarks/glue.ts";
import { readTsv } from "../../lib/benchmarks/tsv.ts";

const BOM = "\uFEFF";

async function read(text: string | Uint8Array, task: GlueTask, split: string) {
  const path = await Deno.makeTempFile({ suffix: ".tsv" });
  try {
    const bytes = typeof text === "string"
      ? new TextEncoder().encode(text)
      : text;
    await Deno.writeFile(path, bytes);
    return await readTsv(path, task, split);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("readTsv() reads CoLA's labelled files, which have no header, and its test file, which has one", async () => {
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

Deno.test("readTsv() drops the byte-order mark of MRPC and keeps quotes unchanged", async () => {
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

Deno.test("readTsv() finds STS-B's score in the last of ten columns", async () => {
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

Deno.test("readTsv() turns class names into the hub's numbers", async () => {
  const { examples } = await read(
    "index\tsentence1\tsentence2\tlabel\n" +
      "0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n",
    GLUE_TASKS.rte,
    "validation",
  );
  assertEquals(examples.map(({ label }) => label), [1, 0]);
});

Deno.test("readTsv() leaves out the lines of QQP that are broken in two, counts them and keeps the numbering", async () => {
  const { examples, broken } = await read(
    "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n" +
      "9\t1\t2\tWhat?\tWhy?\t0\n8\t3\t4\tHow\nso?\tWhen?\t1\n7\t5\t6\tWho?\tHow?\t1\n",
    GLUE_TASKS.qqp,
    "train",
  );
  assertEquals(broken, 2);
  assertEquals(examples.map(({ index }) => index), [0, 3]);
});

const rte = "index\tsentence1\tsentence2\tlabel\n";
for (
  const [fault, text, task, message] of [
    [
      "an unknown class",
      `${rte}0\ta\tb\tentailment\n1\ta\tb\tmaybe\n`,
      GLUE_TASKS.rte,
      /tsv:3: Label "maybe" is not one of "entailment", "not_entailment"$/,
    ],
    [
      "a missing column",
      `${rte}0\ta\tentailment\n`,
      GLUE_TASKS.rte,
      /tsv:2: Expected 4 columns separated by tabs, found 3$/,
    ],
    [
      "an empty line",
      `${rte}\n0\ta\tb\tentailment\n`,
      GLUE_TASKS.rte,
      /tsv:2: Expected 4 columns/,
    ],
    [
      "the file of another task",
      "sentence\tlabel\ngood\t1\n",
      GLUE_TASKS.rte,
      /tsv:1: No column "sentence1" in the header "sentence label"/,
    ],
    [
      "a score out of range",
      "sentence1\tsentence2\tscore\na\tb\t5.5\n",
      GLUE_TASKS.stsb,
      /tsv:2: Score "5.5" is not a number from 0 to 5$/,
    ],
    [
      "an empty score",
      "sentence1\tsentence2\tscore\na\tb\t\n",
      GLUE_TASKS.stsb,
      /tsv:2: Score "" is not a number/,
    ],
    ["a file without examples", rte, GLUE_TASKS.rte, /has no examples of RTE/],
    ["an empty file", "", GLUE_TASKS.rte, /has no examples of RTE/],
    [
      "bytes that are not UTF-8",
      Uint8Array.of(0x66, 0xfc, 0x72),
      GLUE_TASKS.rte,
      /is not valid UTF-8 .*iconv/,
    ],
  ] as const
) {
  Deno.test(`readTsv() refuses ${fault}, with its place`, async () => {
    assertIsError(
      await assertRejects(() => read(text, task, "train")),
      SyntaxError,
      message,
    );
  });
}

Deno.test("readTsv() gives back any text without tabs and line ends, across buffers of any length", async () => {
  const text = fc.string({ unit: "grapheme", maxLength: 300 })
    .filter((text) => !/[\t\n\r]/.test(text));
  const long = fc.tuple(text, fc.nat(3000)).map(([t, n]) => t.repeat(n % 300));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(text, long), { minLength: 1, maxLength: 30 }),
      async (pairs) => {
        const lines = pairs.map(([a, b], i) => `${i}\t${a}\t${b}\tentailment`);
        const { examples } = await read(
          rte + lines.join("\n"),
          GLUE_TASKS.rte,
          "train",
        );
        assertEquals(examples.map(({ text, pair }) => [text, pair]), pairs);
      },
    ),
    { numRuns: 30 },
  );
});

Deno.test("readTsv() refuses a text or a line that is too long, with its place", async () => {
  const header = "sentence\tlabel\nshort\t0\n";
  for (
    const [length, message] of [
      [
        4_000_001,
        /:3: The text has 4000001 characters; the maximum is 4000000/,
      ],
      [100_000_000, /:3: The line has more than 67108864 characters/],
    ] as const
  ) {
    const text = `${header}${"x".repeat(length)}\t1\nshort\t1\n`;
    const error = await assertRejects(() =>
      read(text, GLUE_TASKS.sst2, "train")
    );
    assertIsError(error, SyntaxError, message);
  }
});

const glue = Deno.env.get("DYLORA_GLUE");
for (const task of Object.values<GlueTask>(GLUE_TASKS)) {
  const folder = glue && join(glue, task.tsvFolder ?? task.title);
  Deno.test({
    name: `readTsv() reads every line of the real ${task.title}`,
    ignore: !folder || !existsSync(folder),
    async fn() {
      for (const [split, file] of Object.entries(task.tsvFiles)) {
        const path = join(folder!, file);
        if (!existsSync(path)) continue;
        const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
        const header = task.tsvHeader && split !== "test" ? 0 : 1;
        const { examples, broken } = await readTsv(path, task, split);
        assertEquals(examples.length + broken, lines.length - header, split);
        assert(broken < 10, split);
        assertEquals(examples.at(-1)!.index, lines.length - header - 1);
        assert(lines.at(-1)!.includes(examples.at(-1)!.text));
      }
    },
  });
}
