/** Several labels for a text, as fetch-data reads them. */
import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { readExamples } from "../../lib/artifacts/dataset.ts";
import fetchData from "../../tasks/fetch-data.ts";
import { readRows, type Settings } from "./read_rows.ts";
import { runTask, withFolder } from "./run_task.ts";

const EXAMPLES = [
  { index: 0, text: "one", targets: [1, 0, 1] },
  { index: 1, text: "two", targets: [0, 1, 0] },
  { index: 2, text: "three", targets: [0, 0, 0] },
  { index: 3, text: "four", targets: [1, 1, 0] },
];

const FORMS: readonly (readonly [
  what: string,
  name: string,
  text: string,
  settings?: Settings,
])[] = [
  [
    "lists",
    "a.jsonl",
    '{"text":"one","label":["c","a"]}\n{"text":"two","label":["b"]}\n{"text":"three","label":[]}\n{"text":"four","label":["a","b"]}\n',
  ],
  [
    "lists in JSON in cells",
    "a.csv",
    'text,label\none,"[""a"", ""c""]"\ntwo,"[""b""]"\nthree,[]\nfour,"[""a"",""b""]"\n',
    { separator: "auto" },
  ],
  [
    "names with a separator that is found",
    "a.csv",
    "text,label\none,a|c\ntwo,b\nthree,\nfour,b|a\n",
    { separator: "auto", missing: "none" },
  ],
  [
    "names with a separator that is given, and white space",
    "a.tsv",
    "text\tlabel\none\tc, a\ntwo\tb\nthree\t\nfour\ta , b\n",
    { separator: ",", missing: "none" },
  ],
  [
    "columns of 0 and 1",
    "a.csv",
    "a,text,b,c\n1,one,0,1\n0,two,1,0\n0,three,0,0\n1.0,four,1,0\n",
    { labels: ["a", "b", "c"] },
  ],
  [
    "columns of booleans",
    "a.jsonl",
    '{"text":"one","a":true,"b":false,"c":true}\n{"text":"two","a":false,"b":true,"c":false}\n{"text":"three","a":false,"b":false,"c":false}\n{"text":"four","a":true,"b":true,"c":false}\n',
    { labels: ["a", "b", "c"] },
  ],
];

for (const [what, name, text, settings] of FORMS) {
  Deno.test(`fetch-data reads several labels of a text from ${what}`, () =>
    withFolder(async (folder) => {
      const { info, examples } = await readRows(folder, name, text, settings);
      assertEquals(examples, EXAMPLES);
      assertEquals(info.problem, "multi-label");
      assertEquals(info.labels, ["a", "b", "c"]);
      assertEquals(info.metrics[0], "micro_f1");
      assertEquals(info.columns, ["text"]);
    }));
}

Deno.test("fetch-data says which separator it has found, and what the labels are", () =>
  withFolder(async (folder) => {
    const { log } = await readRows(
      folder,
      "a.csv",
      "text,label\none,a;c\ntwo,b\nfour,b;a\n",
      { separator: "auto" },
    );
    assert(log.includes('Labels of a text are separated by ";"'));
    assert(
      log.includes(
        'train: 3 examples; 3 labels: "a" 2, "b" 2, "c" 1; 1.67 for a text, 0 texts have none',
      ),
      log.join("\n"),
    );
  }));

Deno.test("fetch-data takes a separator that is part of a listed name for a part of it", () =>
  withFolder(async (folder) => {
    const { info, examples } = await readRows(
      folder,
      "a.csv",
      "text,label\none,a|b;c\ntwo,c\n",
      { separator: "auto", classes: ["a|b", "c"] },
    );
    assertEquals(info.labels, ["a|b", "c"]);
    assertEquals(examples.map(({ targets }) => targets), [[1, 1], [0, 1]]);
  }));

Deno.test("fetch-data holds out about the same share of each label", () =>
  withFolder(async (folder) => {
    const lines = Array.from({ length: 200 }, (_, i) => {
      const labels = ["a", "b", "c"].filter((_, k) => i % (k + 2) === 0);
      return JSON.stringify({ text: `text ${i}`, label: labels });
    });
    const path = join(folder, "a.jsonl");
    await Deno.writeTextFile(path, lines.join("\n"));
    const params = { files: { train: path }, holdout: 0.2 };
    const { output } = await runTask(fetchData, folder, params);
    const held = await readExamples(output, "validation");
    assert(Math.abs(held.length - 40) <= 2, String(held.length));
    for (const [label, count] of [100, 67, 50].entries()) {
      const drawn = held.filter(({ targets }) => targets![label] === 1).length;
      assert(Math.abs(drawn - count / 5) <= 2, `${label}: ${drawn}`);
    }
  }));

Deno.test("fetch-data reads the test file of several labels with and without them", () =>
  withFolder(async (folder) => {
    const train = join(folder, "train.csv");
    const test = join(folder, "test.csv");
    await Deno.writeTextFile(train, "text,label\none,a|c\ntwo,b\n");
    for (
      const [text, targets] of [
        ["text\nx\n", undefined],
        ["text,label\nx,c|a\n", [1, 0, 1]],
      ] as const
    ) {
      await Deno.writeTextFile(test, text);
      const { output } = await runTask(fetchData, folder, {
        files: { train, test },
        separator: "|",
      });
      const [example] = await readExamples(output, "test");
      assertEquals(example!.targets, targets);
    }
  }));

Deno.test("fetch-data records which labels may be typing errors or are rare, which texts have different labels, and that none has several", () =>
  withFolder(async (folder) => {
    const rows = [
      ...Array.from({ length: 40 }, (_, i) => `text ${i},positive|other`),
      "x,positve|other",
      "y,rare|positive|rare",
      "text 1,other",
    ];
    const { info: { faults = [] } } = await readRows(
      folder,
      "a.csv",
      `text,label\n${rows.join("\n")}\n`,
      { separator: "|" },
    );
    assertEquals(faults, [
      "1 of 43 rows name a label twice, which counts once (first line 43)",
      'train: the class "positve" (rows: 1, first line 42) may be "positive" (rows: 41) with a typing error: if so, correct it',
      'train: texts with different labels: 1, first "text 1": "other, positive" (line 3) and "other" (line 44)',
      'train: labels with fewer than 5 rows (2), too few to learn and to score: "positve" (rows: 1, first line 42), "rare" (rows: 1, first line 43)',
    ]);
    const single = await readRows(
      folder,
      "b.csv",
      `text,label\n${
        Array.from({ length: 12 }, (_, i) => `text ${i},${"ab"[i % 2]}`)
          .join("\n")
      }\n`,
      { separator: "|" },
    );
    assertEquals(single.info.faults, [
      "train: no text has more than one label: if each has exactly one, they are classes, which a model learns better as such",
    ]);
  }));

const REFUSED: readonly (readonly [
  what: string,
  text: string,
  settings: Settings,
  message: RegExp,
])[] = [
  [
    "a label that is none of a fixed list",
    "text,label\none,a|b\ntwo,a|x\n",
    { separator: "|", classes: ["a", "b"] },
    /a\.csv:3: Label "x" is not one of the labels \("a", "b"\)/,
  ],
  [
    "a separator inside a listed name",
    "text,label\none,a|b\n",
    { separator: "|", classes: ["a|b", "c"] },
    /Expected a separator that no class has in its name/,
  ],
  [
    "nothing between two separators",
    "text,label\none,a|b\ntwo,a||b\n",
    { separator: "|" },
    /a\.csv:3: Expected the name of a label, found nothing in "a\|\|b"/,
  ],
  [
    "a value that is neither 0 nor 1",
    "text,a,b\none,0,1\ntwo,2,1\n",
    { labels: ["a", "b"] },
    /a\.csv:3: Column "a" has "2", expected 0 or 1/,
  ],
  [
    "a lacking column of labels",
    "text,a\none,0\n",
    { labels: ["a", "b"] },
    /"b".*: name the columns of 0 and 1 by -S labels=\[\.\.\.\]/,
  ],
  [
    "a text without labels, unless it may have none",
    "text,label\none,a|b\ntwo,\n",
    { separator: "|" },
    /1 of 2 rows have no label: .*a\.csv:3.*-S missing=skip.*-S missing=none/,
  ],
  [
    "10,000 different labels",
    `text,label\n${
      Array.from({ length: 5000 }, (_, i) => `t${i},a${i}|b${i}`).join("\n")
    }\n`,
    { separator: "|" },
    /Expected 2 to 1000 different labels, found 10000, such as .*-S separator= \(last row: .*a\.csv:5001\)/,
  ],
  [
    "names with a separator where a text has one class, unless the classes are listed",
    "text,label\none,a|b\ntwo,a\nthree,b\nfour,b|a\nfive,a|b\n",
    {},
    /a\.csv:2: A text seems to have several labels in the column "label", with "\|" between them, as in "a\|b": read them by --profile labels.*-S separator=auto;.*-S classes=\[\.\.\.\]/,
  ],
  [
    "lists in JSON where a text has one class",
    'text,label\none,"[""a""]"\ntwo,[]\n',
    {},
    /a\.csv:2: A text seems to have several labels in the column "label", lists in JSON, as in/,
  ],
  [
    "columns of 0 and 1 where there is no column of labels",
    "text,joy,hope,fear\none,0,1,1\ntwo,1,1,0\nthree,0,0,0\n",
    {},
    /no column "label".*: it has columns of 0 and 1, which may be a label each: name them by -S labels='\[joy, hope, fear\]'/,
  ],
  [
    "nothing between two separators that are found",
    "text,label\none,a|b\ntwo,a\nthree,b||a\nfour,b|a\n",
    { separator: "auto" },
    /a\.csv:4: Expected the name of a label, found nothing in "b\|\|a"/,
  ],
  [
    "one label alone",
    "text,label\none,a\ntwo,a\n",
    { separator: "|" },
    /Expected 2 to 1000 different labels, found 1, such as "a"/,
  ],
  [
    "a list that is not closed",
    'text,label\none,"[""a"", ""b""]"\ntwo,"[""a"", ""b"""\n',
    { separator: "auto" },
    /a\.csv:3: "\["a", "b"" begins as a list, but is none in JSON: write it as \["one", "other"\]/,
  ],
  [
    "a list as Python writes it",
    "text,label\none,\"['a', 'b']\"\ntwo,['a']\n",
    { separator: "auto" },
    /a\.csv:2: .*begins as a list, but is none in JSON/,
  ],
];

for (const [what, text, settings, message] of REFUSED) {
  Deno.test(`fetch-data refuses ${what}, with its line and the remedy`, () =>
    withFolder(async (folder) => {
      const error = await assertRejects(async () => {
        await readRows(folder, "a.csv", text, settings);
      });
      assertIsError(error, Error, message);
    }));
}

Deno.test("fetch-data reads columns of 0 and 1 under the profile of several labels, whose separator they do not have", () =>
  withFolder(async (folder) => {
    const { info } = await readRows(
      folder,
      "a.csv",
      "text,joy,hope\none,0,1\ntwo,1,1\nthree,1,0\n",
      { labels: ["joy", "hope"], separator: "auto" },
    );
    assertEquals(info.problem, "multi-label");
    assertEquals(info.labels, ["joy", "hope"]);
  }));

Deno.test("fetch-data reads values with a separator as classes where these are listed", () =>
  withFolder(async (folder) => {
    const { info, examples } = await readRows(
      folder,
      "a.csv",
      "text,label\none,a|b\ntwo,a\nthree,b\nfour,b|a\n",
      { classes: ["a", "b", "a|b", "b|a"] },
    );
    assertEquals(info.problem, "classification");
    assertEquals(examples.map(({ label }) => label), [2, 0, 1, 3]);
  }));
