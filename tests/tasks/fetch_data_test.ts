import {
  assert,
  assertEquals,
  assertIsError,
  assertRejects,
} from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { readTable } from "../../lib/data/table.ts";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import fetchData from "../../tasks/fetch-data.ts";
import { runSandboxed } from "./run_sandboxed.ts";
import { runTask, withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** Writes files and hands out their paths. */
async function write(
  folder: string,
  files: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const paths: Record<string, string> = {};
  for (const [name, text] of Object.entries(files)) {
    paths[name] = join(folder, name);
    await Deno.writeTextFile(paths[name], text);
  }
  return paths;
}

async function readSplit(folder: string, split: string) {
  return await readExamples(folder, split);
}

const rows = {
  "a.tsv": 'kind\tbody\nspam\tBuy "now"\nham\tHello, you\n',
  "a.csv": '\uFEFFbody,kind\r\n"Buy ""now""",spam\r\n"Hello, you",ham\r\n',
  "a.jsonl":
    '{"body":"Buy \\"now\\"","kind":"spam","more":[1]}\n\n{"kind":"ham","body":"Hello, you"}',
};

for (const [name, text] of Object.entries(rows)) {
  Deno.test(`fetch-data reads named columns of ${name}`, () =>
    withFolder(async (folder) => {
      const files = await write(folder, { [name]: text });
      const { output } = await runTask(fetchData, folder, {
        files: { train: files[name]! },
        text: "body",
        label: "kind",
      });
      const { faults, ...info } = await readDatasetInfo(output);
      assertEquals(faults?.length, 1);
      assertEquals(info, {
        task: "data",
        problem: "classification",
        labels: ["ham", "spam"],
        metrics: ["accuracy", "f1"],
        columns: ["body"],
        splits: { train: 2 },
      });
      assertEquals(await readSplit(output, "train"), [
        { index: 0, text: 'Buy "now"', label: 1 },
        { index: 1, text: "Hello, you", label: 0 },
      ]);
    }));
}

Deno.test("fetch-data writes a test split alone as it would be beside the others, and refuses one without labels", () =>
  withFolder(async (folder) => {
    const table = (texts: readonly string[]) =>
      ["text,label", ...texts.map((it, i) => `${it},${"ab"[i % 2]}`)].join(
        "\n",
      );
    const files = await write(folder, {
      "train.csv": table(["one", "two", "three", "three", "five", "six"]),
      "test.csv": table(["seven", "two"]),
      "none.csv": "text\nseven\n",
    });
    const params = {
      files: { train: files["train.csv"]!, test: files["test.csv"]! },
      holdout: 0.2,
    };
    const all = await runTask(fetchData, folder, params);
    const alone = await runTask(fetchData, folder, { ...params, only: "test" });
    assertEquals(
      await readSplit(alone.output, "test"),
      await readSplit(all.output, "test"),
    );
    const whole = await readDatasetInfo(all.output);
    const { splits, faults, ...info } = await readDatasetInfo(alone.output);
    assertEquals(splits, { test: 2 });
    assertEquals({ ...whole, ...info }, whole);
    assertEquals(faults, whole.faults!.filter((it) => it.startsWith("test: ")));
    assertEquals(alone.log.filter((it) => /^(train|validation)/.test(it)), []);
    await assertRejects(
      () =>
        runTask(fetchData, folder, {
          files: { train: files["train.csv"]!, test: files["none.csv"]! },
          only: "test",
        }),
      SyntaxError,
      "has no labels, by which a test set is scored",
    );
  }));

Deno.test("fetch-data reads pairs and scores from Parquet", () =>
  withFolder(async (folder) => {
    const file = (split: string) =>
      join(fixtures, `tiny-hub/stsb/${split}-00000-of-00001.parquet`);
    const { output } = await runTask(fetchData, folder, {
      name: "similarity",
      files: { train: file("train"), validation: file("validation") },
      text: "sentence1",
      pair: "sentence2",
      regression: true,
    });
    const info = await readDatasetInfo(output);
    assertEquals(info.labels, null);
    assertEquals(info.metrics, ["pearson", "spearman"]);
    assertEquals(info.splits, { train: 25, validation: 25 });
    const [first] = await readSplit(output, "train");
    assertEquals(first!.text, "the humor is smart .");
    assertEquals(first!.pair, "the acting is exactly smart .");
    assertEquals(first!.label, Math.fround(4.7));
  }));

Deno.test("fetch-data names classes as a parquet file records them, without spaces around, whatever the case of its ending", () =>
  withFolder(async (folder) => {
    const file = join(folder, "INTENTS.PARQUET");
    await Deno.copyFile(join(fixtures, "tiny-intents/train.parquet"), file);
    const { output } = await runTask(fetchData, folder, {
      files: { train: file },
    });
    const { labels, metrics } = await readDatasetInfo(output);
    assertEquals(metrics, ["accuracy"]);
    assertEquals(labels?.length, 25);
    assertEquals([labels?.[0], labels?.[24]], ["intent 0", "card lost"]);
  }));

Deno.test("fetch-data leaves out examples with the label -1 where a parquet file names the classes, and says how many", () =>
  withFolder(async (folder) => {
    const train = join(fixtures, "tiny-undecided/train.parquet");
    const { output, log } = await runTask(fetchData, folder, {
      files: { train, validation: train, test: train },
    });
    assertEquals(log.filter((line) => line.includes("no label")), [
      "train: 4 of 12 examples have no label (-1) and are left out",
      "validation: 4 of 12 examples have no label (-1) and are left out",
      "test: 4 of 12 examples have no label (-1) and are left out",
    ]);
    const { labels, splits } = await readDatasetInfo(output);
    assertEquals(labels, ["worse", "better"]);
    assertEquals(splits, { train: 8, validation: 8, test: 8 });
    assertEquals(
      (await readSplit(output, "train")).map(({ index }) => index),
      [1, 2, 4, 5, 7, 8, 10, 11],
    );
    const unpublished = join(
      fixtures,
      "tiny-reviews/data/test-00000-of-00001.parquet",
    );
    assertIsError(
      await assertRejects(() =>
        runTask(fetchData, folder, { files: { train: unpublished } })
      ),
      Error,
      /The split "train" has no labels: all are -1 \(last row: .*", row 10\)/,
    );
  }));

Deno.test("fetch-data orders classes as given, else by number, else alphabetically", () =>
  withFolder(async (folder) => {
    const labelsOf = async (labels: readonly string[], classes?: string[]) => {
      const lines = labels.map((label) => JSON.stringify({ text: "x", label }));
      const files = await write(folder, { "a.jsonl": lines.join("\n") });
      const { output } = await runTask(fetchData, folder, {
        files: { train: files["a.jsonl"]! },
        ...(classes && { classes }),
      });
      return (await readDatasetInfo(output)).labels;
    };
    assertEquals(await labelsOf(["10", "9", "-1"]), ["-1", "9", "10"]);
    assertEquals(await labelsOf(["b", "a", "10"]), ["10", "a", "b"]);
    assertEquals(await labelsOf(["b", "a"], ["b", " a"]), ["b", "a"]);
  }));

Deno.test("fetch-data draws the same holdout from the training split every time", () =>
  withFolder(async (folder) => {
    const text = Array.from(
      { length: 50 },
      (_, i) => JSON.stringify({ text: `text ${i}`, label: i % 2 === 0 }),
    ).join("\n");
    const files = await write(folder, {
      "a.jsonl": text,
      "test.csv": "text\nunknown\n",
    });
    const draw = async () => {
      const { output, log } = await runTask(fetchData, folder, {
        files: { train: files["a.jsonl"]!, test: files["test.csv"]! },
        holdout: 0.2,
      });
      assertEquals(log, [
        'train: 40 examples; 2 classes: "false" 20, "true" 20',
        'validation: 10 examples; 2 classes: "false" 5, "true" 5',
        "test: 1 example; no labels",
      ]);
      return {
        train: await readSplit(output, "train"),
        validation: await readSplit(output, "validation"),
        test: await readSplit(output, "test"),
      };
    };
    const { train, validation, test } = await draw();
    assertEquals(validation.length, 10);
    const all = [...train, ...validation].map(({ index }) => index);
    assertEquals(all.sort((a, b) => a - b), [...Array(50).keys()]);
    assertEquals(test, [{ index: 0, text: "unknown" }]);
    assertEquals((await draw()).validation, validation);
  }));

Deno.test("fetch-data says how many texts of a TSV file are quoted as in a CSV file", () =>
  withFolder(async (folder) => {
    const quoted = '"a ""b"""';
    const rows = [quoted, '"a" b "c"', "a", '"a"'];
    const files = await write(folder, {
      "a.tsv": `text\tlabel\n${
        rows.map((row, i) => `${row}\t${i % 2}\n`).join("")
      }`,
      "a.csv": `text,label\n${quoted},0\nb,1\n`,
    });
    const logOf = async (train: string) => {
      const { log } = await runTask(fetchData, folder, { files: { train } });
      return log.filter((line) => line.includes("in quotes"));
    };
    assertEquals(await logOf(files["a.tsv"]!), [
      "train: 1 of 4 rows with a text in quotes that has doubled quotes in it (line 2); quotes are part of the text in a .tsv: if a CSV writer has added them, save the table as .csv",
    ]);
    assertEquals(await logOf(files["a.csv"]!), []);
  }));

Deno.test("fetch-data says how many examples of the other splits are in the training split", () =>
  withFolder(async (folder) => {
    const table = (rows: readonly string[]) =>
      `a,b,label\n${rows.join("\n")}\n`;
    const files = await write(folder, {
      "train.csv": table(["x,y,0", "x,z,1", "u,v,1"]),
      "validation.csv": table(["x,z,0", "x,v,1", "x,y,0"]),
      "test.csv": table(["y,x,0", "u,u,1"]),
    });
    const { log } = await runTask(fetchData, folder, {
      files: {
        train: files["train.csv"]!,
        validation: files["validation.csv"]!,
        test: files["test.csv"]!,
      },
      text: "a",
      pair: "b",
    });
    assertEquals(log.filter((line) => !line.includes("fewer than 5")), [
      'train: 3 examples; 2 classes: "0" 1, "1" 2',
      'validation: 3 examples; 2 classes: "0" 2, "1" 1',
      'test: 2 examples; 2 classes: "0" 1, "1" 1',
      "validation: 2 of 3 rows with the texts of a row of train (line 2, 4), so scores may be too high: remove duplicates from your files",
    ]);
  }));

for (
  const [what, labels, message] of [
    [
      "200 decimal numbers in 200 rows",
      Array.from({ length: 200 }, (_, i) => `${i / 200}`),
      /The labels have 200 different values, all of them numbers and some with decimals, such as "0\.005"; to predict a number, -S regression=true; if these are classes, list them by -S classes=\[...\] \(last row: .*train\.jsonl:200\)/,
    ],
    [
      "eleven ratings with decimals",
      Array.from({ length: 100 }, (_, i) => (i % 11) / 2),
      /The labels have 11 different values, all of them numbers and some with decimals, such as "0\.5"/,
    ],
    [
      "a different integer in each row",
      Array.from({ length: 20 }, (_, i) => 1000 + i),
      /The labels of 20 rows have 20 different values, such as "1000", too many to learn as classes: check the column of the label; to predict a number, -S regression=true/,
    ],
    [
      "a text of its own in most rows",
      Array.from({ length: 40 }, (_, i) => `text ${Math.min(i, 20)}`),
      /The labels of 40 rows have 21 different values, such as "text 0", too many/,
    ],
  ] as const
) {
  Deno.test(`fetch-data asks whether labels are classes if they are ${what}, unless it is told`, async () => {
    assertIsError(
      await assertRejects(() => labelsOf({ train: labels })),
      SyntaxError,
      message,
    );
    const classes = [...new Set(labels.map(String))];
    const { train } = await labelsOf({ train: labels, params: { classes } });
    assertEquals(train, labels.map((label) => classes.indexOf(String(label))));
  });
}

Deno.test("fetch-data takes a few grades with decimals, and two rows per class, as classes", async () => {
  const grades = Array.from({ length: 50 }, (_, i) => (i % 10) / 2);
  const { train } = await labelsOf({ train: grades });
  assertEquals(new Set(train).size, 10);
  const pairs = Array.from({ length: 40 }, (_, i) => `class ${i % 20}`);
  assertEquals(new Set((await labelsOf({ train: pairs })).train).size, 20);
});

Deno.test("fetch-data says in a line what it has read: classes with counts, scores, empty texts", () =>
  withFolder(async (folder) => {
    const linesOf = async (
      text: string,
      params: Readonly<Record<string, unknown>> = {},
    ) => {
      const { train } = await write(folder, { train: text });
      await Deno.rename(train!, `${train}.tsv`);
      const { log } = await runTask(fetchData, folder, {
        ...params,
        files: { train: `${train}.tsv` },
      });
      assertEquals(
        log.at(-1),
        "No validation split, on which stages evaluate by default: hold some rows out by -S holdout=0.1, or name a file of them by -S validation=FILE",
      );
      return log.slice(0, 1);
    };
    const rows = (labels: readonly unknown[], text?: string) =>
      `text\tlabel\n${
        labels.map((it, i) => `${text ?? `x ${i}`}\t${it}\n`).join("")
      }`;
    assertEquals(await linesOf(rows(["b", "a", "b"]) + "  \ta\n"), [
      'train: 4 examples; 2 classes: "a" 2, "b" 2; 1 with an empty text',
    ]);
    assertEquals(
      await linesOf(rows(["a"], " "), { classes: ["a", "b"] }),
      ['train: 1 example; 2 classes: "a" 1, "b" 0; 1 with an empty text'],
    );
    assertEquals(
      await linesOf(rows([1, 2.5, -4.25]), { regression: true }),
      ["train: 3 examples; scores from -4.25 to 2.5, mean -0.25"],
    );
    const many = Array.from({ length: 40 }, (_, i) => `c${i % 12}`);
    assertEquals(await linesOf(rows(many)), [
      'train: 40 examples; 12 classes, from "c10" 3 to "c0" 4',
    ]);
  }));

Deno.test("fetch-data accepts null parameters and prefers a validation file to a holdout", () =>
  withFolder(async (folder) => {
    const files = await write(folder, {
      "a.csv": "text,label\na,1\nb,2\nc,1\nd,2\n",
      "b.csv": "text,label\ne,1\n",
    });
    const splitsWith = async (validation: string | null) => {
      const { output } = await runTask(fetchData, folder, {
        files: { train: files["a.csv"]!, validation, test: null },
        pair: null,
        classes: null,
        holdout: 0.5,
      });
      return (await readDatasetInfo(output)).splits;
    };
    assertEquals(await splitsWith(null), { train: 2, validation: 2 });
    assertEquals(await splitsWith(files["b.csv"]!), {
      train: 4,
      validation: 1,
    });
  }));

for (
  const [fault, name, text, message] of [
    [
      "a missing column",
      "a.csv",
      "body,label\nx,1\n",
      /no column "text"; it has "body", "label": name the column of the texts, as by -S text=body$/,
    ],
    [
      "a missing column of labels",
      "a.csv",
      "text,id,my kind,kind\nx,1,a,b\n",
      /no column "label"; .*: name the column of the labels, as by -S label=kind$/,
    ],
    [
      "an empty file",
      "a.tsv",
      "",
      /no column "text"; it has none: name the column of the texts, as by -S text=COLUMN$/,
    ],
    [
      "too many fields",
      "a.csv",
      "text,label\na,1\nb,2,3\n",
      /a\.csv:3:5: Expected 2 columns separated by commas, found 3;/,
    ],
    [
      "an open quote",
      "a.csv",
      'text,label\n"a,1\n',
      /a\.csv:2:1: A quoted text is not closed/,
    ],
    [
      "a line that is not JSON",
      "a.jsonl",
      '{"text":"a","label":1}\n{',
      /a\.jsonl:2:2: Expected a JSON object on one line, found "\{"$/,
    ],
    [
      "a line that is no object",
      "a.jsonl",
      "[1]",
      /a\.jsonl:1: Expected a JSON object, found/,
    ],
    [
      "a text that is none",
      "a.jsonl",
      '{"text":5,"label":1}\n{"text":"b","label":2}',
      /a\.jsonl:1: Expected text, found 5/,
    ],
    [
      "missing labels",
      "a.tsv",
      "text\tlabel\na\t1\nb\t\nc\t2\nd\t \n",
      /^train: 2 of 4 rows have no label: .*a\.tsv:3, 5; complete them, or leave them out by -S missing=skip$/,
    ],
    [
      "one class only",
      "a.tsv",
      "text\tlabel\na\t1\nb\t1\n",
      /The labels have different values: 1, expected 2/,
    ],
    [
      "a file that is not parquet",
      "a.parquet",
      "text",
      /a\.parquet" as parquet/,
    ],
  ] as const
) {
  Deno.test(`fetch-data rejects ${fault} with file and line`, () =>
    withFolder(async (folder) => {
      const files = await write(folder, { [name]: text });
      assertIsError(
        await assertRejects(() =>
          runTask(fetchData, folder, { files: { train: files[name]! } })
        ),
        SyntaxError,
        message,
      );
    }));
}

Deno.test("fetch-data rejects validation labels missing from training and scores that are not numbers", () =>
  withFolder(async (folder) => {
    const files = await write(folder, {
      "a.tsv": "text\tlabel\na\tx\nb\ty\n",
      "b.tsv": "text\tlabel\na\tz\n",
    });
    const given = { train: files["a.tsv"]!, validation: files["b.tsv"]! };
    await assertRejects(
      () => runTask(fetchData, folder, { files: given }),
      Error,
      'b.tsv:2: Label "z" is not one of the classes ("x", "y")',
    );
    await assertRejects(
      () => runTask(fetchData, folder, { files: given, regression: true }),
      Error,
      'a.tsv:2: Expected a number as the label, found "x"',
    );
  }));

Deno.test("fetch-data rejects contradictory parameters", () => {
  const files = { train: "a.csv", validation: "b.csv" };
  const refused = (params: Record<string, unknown>) =>
    assert(!fetchData.params.safeParse(params).success);
  refused({ files, regression: true, classes: ["a", "b"] });
  refused({ files, classes: ["a", "a"] });
  refused({ files, classes: ["a", "a "] });
  refused({ files, name: "mrpc" });
  refused({ files: { train: "a.xlsx" } });
  refused({ files, lable: "x" });
  refused({ files, text: "a", pair: "a" });
  refused({ files, text: "label" });
  refused({ files, label: "a", pair: "a" });
  refused({ files, text: "a", completion: "a" });
  // The label is read of no file where texts are written.
  for (const learnt of [{ completion: "a" }, { messages: "a" }]) {
    fetchData.params.parse({ files, text: "label", ...learnt });
  }
});

Deno.test("fetch-data names a parameter with the column of another one, which is given", () => {
  const files = { train: "a.csv" };
  for (
    const [params, given, other] of [
      [{ text: "a", pair: "a" }, "pair", "text"],
      [{ text: "label" }, "text", "label"],
      [{ pair: "text" }, "pair", "text"],
      [{ label: "a", pair: "a" }, "label", "pair"],
      [{ text: "a", completion: "a" }, "completion", "text"],
    ] as const
  ) {
    const { error } = fetchData.params.safeParse({ files, ...params });
    assertEquals(
      error!.issues.map(({ path, message }) => [path.join("."), message]),
      [[given, `Expected another column than that of "${other}"`]],
    );
  }
});

Deno.test("readTable() reads back any text written as CSV", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a.csv");
    const field = fc.string({ unit: "grapheme" });
    const isEmpty = (row: readonly string[]) =>
      row.every((text) => text.trim() === "");
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(field, field), { minLength: 1 })
          .filter((rows) => !isEmpty(rows.at(-1)!)),
        async (rows) => {
          const quoted = [["a", "b"], ...rows].map((row) =>
            row.map((text) => `"${text.replaceAll('"', '""')}"`).join(",")
          );
          await Deno.writeTextFile(path, quoted.join("\r\n"));
          const read = await readTable(path, ["b", "a"]);
          assertEquals(read.map(({ values }) => values.toReversed()), rows);
        },
      ),
      { numRuns: 40 },
    );
  }));

Deno.test("fetch-data runs with the permissions that it declares", () =>
  withFolder(async (folder) => {
    const files = await write(folder, { "a.csv": "text,label\na,1\nb,2\n" });
    const params = { files: { train: files["a.csv"]! } };
    const { code, text } = await runSandboxed("fetch-data", folder, params);
    assertEquals(code, 0, text);
  }));

interface Given {
  /** Labels of the files' rows; a row without one lacks the column. */
  readonly train: readonly unknown[];
  readonly test?: readonly unknown[];
  readonly params?: Readonly<Record<string, unknown>>;
}

/** Runs fetch-data and gives the labels of each split. */
async function labelsOf({ train, test, params }: Given) {
  const splits: Record<string, (number | undefined)[]> = {};
  await withFolder(async (folder) => {
    const write = async (name: string, labels: readonly unknown[]) => {
      const path = join(folder, name);
      const lines = labels.map((label) => JSON.stringify({ text: "x", label }));
      await Deno.writeTextFile(path, lines.join("\n"));
      return path;
    };
    const files = {
      train: await write("train.jsonl", train),
      test: test && await write("test.jsonl", test),
    };
    const { output } = await runTask(fetchData, folder, { ...params, files });
    const info = await readDatasetInfo(output);
    for (const split of Object.keys(info.splits)) {
      const examples = await readExamples(output, split);
      splits[split] = examples.map(({ label }) => label);
    }
  });
  return splits;
}

const NONE = [undefined, undefined, undefined];

for (
  const [what, test] of [
    ["lacks the column", NONE],
    ["has empty labels", ["", " ", ""]],
    ["has null for labels", [null, null, null]],
    ["has -1 for labels", [-1, "-1", "-1.0"]],
    ["has nothing or -1 for labels", [null, "", -1]],
  ] as const
) {
  Deno.test(`fetch-data reads a test file that ${what} as unlabelled`, async () => {
    const classes = await labelsOf({ train: ["a", "b"], test });
    assertEquals(classes.test, NONE);
    const params = { regression: true };
    const scores = await labelsOf({ train: [0.5, -2], test, params });
    assertEquals(scores.test, NONE);
  });
}

Deno.test("fetch-data reads -1 in the test file as a label if training has it", async () => {
  const test = [-1, -1];
  const classes = await labelsOf({ train: [1, -1], test });
  assertEquals(classes.test, [0, 0]);
  const params = { regression: true };
  const scores = await labelsOf({ train: ["1", "-1.0"], test, params });
  assertEquals(scores.test, [-1, -1]);
});

for (
  const [test, message] of [
    [["a", ""], /^test: 1 of 2 rows have no label: .*test\.jsonl:2; /],
    [[null, "a"], /^test: 1 of 2 rows have no label: .*test\.jsonl:1; /],
    [["a", -1], /test\.jsonl:2: Label "-1" is not one of the classes/],
  ] as const
) {
  Deno.test(`fetch-data rejects a partly labelled test file: ${JSON.stringify(test)}`, async () => {
    assertIsError(
      await assertRejects(() => labelsOf({ train: ["a", "b"], test })),
      Error,
      message,
    );
  });
}

Deno.test("fetch-data refuses a holdout if all texts are equal", async () => {
  const params = { holdout: 0.9, regression: true };
  assertIsError(
    await assertRejects(() => labelsOf({ train: [1, 2], params })),
    Error,
    /train\.jsonl" has too few different texts for a holdout.*-S validation=FILE/,
  );
});

Deno.test("fetch-data records which classes may be typing errors or are small, and which texts have several labels, are repeated or are empty", () =>
  withFolder(async (folder) => {
    const rows = [
      ...Array.from({ length: 30 }, (_, i) => [`a ${i}`, "positive"]),
      ...Array.from({ length: 20 }, (_, i) => [`b ${i}`, "negative"]),
      ...[["c", "Positive"], ["d", "postive"], ["e", "neutral"]],
      ...[["a 3", "negative"], ["a 4", "neutral"]],
      ...[["b 1", "negative"], ["b 1", "negative"], [" ", "negative"]],
    ];
    const files = await write(folder, {
      "a.csv": `text,label\n${rows.map((row) => `${row}\n`).join("")}`,
      "b.csv": "text,label\nx,positive\nx,negative\n",
    });
    const train = files["a.csv"]!;
    const validation = files["b.csv"]!;
    const { log, output } = await runTask(fetchData, folder, {
      files: { train, validation },
    });
    const faults = [
      'train: the class "Positive" (rows: 1, first line 52) may be "positive" (rows: 30) with a typing error: if so, correct it',
      'train: the class "postive" (rows: 1, first line 53) may be "positive" (rows: 30) with a typing error: if so, correct it',
      'train: texts with several labels: 2, first "a 3": "positive" (line 5) and "negative" (line 55)',
      "train: 2 of 58 rows that repeat an earlier one and count again (line 57, 58): remove them, or leave them out by -S repeated=drop",
      "train: 1 of 58 rows with an empty text (line 59)",
      'train: classes with fewer than 5 rows (3), too few to learn and to score: "neutral" (rows: 2, first line 54), "Positive" (rows: 1, first line 52), "postive" (rows: 1, first line 53)',
      'validation: texts with several labels: 1, first "x": "positive" (line 2) and "negative" (line 3)',
    ];
    assertEquals(log.slice(2), faults);
    const info = await readDatasetInfo(output);
    assertEquals(info.faults, faults);
    assertEquals(info.metrics, ["accuracy", "f1_macro"]);
  }));

Deno.test("fetch-data drops rows that repeat an earlier one with repeated: drop, and keeps those with another label", () =>
  withFolder(async (folder) => {
    const files = await write(folder, {
      "a.csv": "text,label\na,x\nb,y\na, x\na,y\nb,y\n",
      "b.csv": "text,label\nc,x\nc,x\n",
    });
    const train = files["a.csv"]!;
    const validation = files["b.csv"]!;
    const { log, output } = await runTask(fetchData, folder, {
      files: { train, validation },
      repeated: "drop",
    });
    assertEquals(log.slice(0, 2), [
      "train: 2 of 5 rows repeat an earlier one and are left out",
      "validation: 1 of 2 rows repeat an earlier one and are left out",
    ]);
    const { splits, faults = [] } = await readDatasetInfo(output);
    assertEquals(splits, { train: 3, validation: 1 });
    assertEquals(faults.filter((it) => it.includes("repeat")), []);
  }));

Deno.test("fetch-data takes classes that differ in digits, or are alike and frequent, as they are", () =>
  withFolder(async (folder) => {
    const rows = Array.from(
      { length: 240 },
      (_, i) =>
        `t ${i},${["intent 1", "intent 2", "increase", "decrease"][i % 4]}\n`,
    );
    rows.push("x,intent 3\n", "y,pos\n", "z,neg\n");
    const { train } = await write(folder, {
      train: `text,label\n${rows.join("")}`,
    });
    await Deno.rename(train!, `${train}.csv`);
    const { log } = await runTask(fetchData, folder, {
      files: { train: `${train}.csv` },
    });
    assertEquals(log.length, 3);
  }));

Deno.test("fetch-data leaves out rows without a label if it is told, and names them all", () =>
  withFolder(async (folder) => {
    const rows = Array.from(
      { length: 60 },
      (_, i) => `t ${i}\t${i % 2 === 0 ? "" : i % 4}\n`,
    );
    const { train } = await write(folder, {
      train: `text\tlabel\n${rows.join("")}`,
    });
    await Deno.rename(train!, `${train}.tsv`);
    const files = { train: `${train}.tsv`, test: `${train}.tsv` };
    const { output, log } = await runTask(fetchData, folder, {
      files,
      missing: "skip",
    });
    const { splits } = await readDatasetInfo(output);
    assertEquals(splits, { train: 30, test: 30 });
    const places = Array.from({ length: 20 }, (_, i) => 2 * i + 2).join(", ");
    assertEquals(
      log.slice(0, 2),
      ["train", "test"].map((split) =>
        `${split}: 30 of 60 rows have no label and are left out: ${train}.tsv:${places} and 10 more`
      ),
    );
  }));
