/** Texts that are near each other, as fetch-data reads them. */
import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readExamples } from "../../lib/artifacts/dataset.ts";
import fetchData from "../../tasks/fetch-data.ts";
import tokenize from "../../tasks/tokenize.ts";
import { readRows, type Settings } from "./read_rows.ts";
import { runTask, withFolder } from "./run_task.ts";

/** Writes a training file of pairs by their columns, and reads it. */
function read(folder: string, name: string, text: string, settings?: Settings) {
  const columns = { text: "anchor", positive: "positive" };
  return readRows(folder, name, text, { ...columns, ...settings });
}

Deno.test("texts that belong together are examples of two sequences, with a number for each different text", () =>
  withFolder(async (folder) => {
    const text = "anchor,positive\na,x\nb,y\na,z\nx,y\n";
    const { info, examples, log } = await read(folder, "a.csv", text);
    assertEquals(info.problem, "retrieval");
    assertEquals(info.columns, ["anchor", "positive"]);
    assertEquals(info.metrics[0], "accuracy@1");
    assertEquals(examples, [
      { index: 0, text: "a", others: ["x"], targets: [0, 1] },
      { index: 1, text: "b", others: ["y"], targets: [2, 3] },
      { index: 2, text: "a", others: ["z"], targets: [0, 4] },
      { index: 3, text: "x", others: ["y"], targets: [1, 3] },
    ]);
    assertEquals(
      log.find((it) => it.startsWith("train:")),
      "train: 4 examples; texts that belong together, 5 different ones",
    );
  }));

Deno.test("hard negatives are further sequences of JSON Lines with anchor, positive and negative", () =>
  withFolder(async (folder) => {
    const rows = [["a", "x", "y"], ["b", "y", "z"]].map((
      [anchor, positive, negative],
    ) => JSON.stringify({ anchor, positive, negative }));
    const { info, examples } = await read(
      folder,
      "a.jsonl",
      rows.join("\n"),
      { negatives: ["negative"] },
    );
    assertEquals(info.sequences, 3);
    assertEquals(examples[1], {
      index: 1,
      text: "b",
      others: ["y", "z"],
      targets: [3, 2, 4],
    });
  }));

Deno.test("pairs with scores are examples of two sequences with a number, which may have a decimal comma", () =>
  withFolder(async (folder) => {
    const { info, examples } = await read(
      folder,
      "a.csv",
      "anchor;positive;score\na;b;0,5\nc;d;5\n",
      { score: "score" },
    );
    assertEquals(info.problem, "similarity");
    assertEquals(info.metrics, ["spearman_cosine", "pearson_cosine"]);
    assertEquals(examples, [
      { index: 0, text: "a", others: ["b"], label: 0.5 },
      { index: 1, text: "c", others: ["d"], label: 5 },
    ]);
  }));

Deno.test("all texts of a query are held out together", () =>
  withFolder(async (folder) => {
    const rows = Array.from(
      { length: 40 },
      (_, i) => `query ${i % 10},answer ${i}`,
    );
    const { output, examples } = await read(
      folder,
      "a.csv",
      ["anchor,positive", ...rows].join("\n"),
      { holdout: 0.3 },
    );
    const held = await readExamples(output, "validation");
    assertEquals(held.length + examples.length, 40);
    assertEquals(held.length >= 12, true);
    const learnt = new Set(examples.map(({ text }) => text));
    assertEquals(held.filter(({ text }) => learnt.has(text)), []);
  }));

/** Settings of texts with groups, which have no second text. */
const GROUPED = { text: "text", positive: undefined, group: "intent" };

Deno.test("each text with a group has another one of it, which is one other's, and numbers of text and group", () =>
  withFolder(async (folder) => {
    const rows = ["a,x", "b,x", "c,y", "d,x", "e,y", "a,x", "f,z"];
    const text = ["text,intent", ...rows].join("\n");
    const { info, examples, log } = await read(
      folder,
      "a.csv",
      text,
      GROUPED,
    );
    assertEquals(info.problem, "groups");
    assertEquals(info.metrics, ["accuracy@1", "accuracy@10", "mrr@10"]);
    assertEquals(info.columns, ["text", "text"]);
    assertEquals(examples, [
      { index: 0, text: "a", others: ["b"], targets: [0, 1] },
      { index: 1, text: "b", others: ["d"], targets: [2, 1] },
      { index: 2, text: "c", others: ["e"], targets: [3, 4] },
      { index: 3, text: "d", others: ["a"], targets: [5, 1] },
      { index: 4, text: "e", others: ["c"], targets: [6, 4] },
      { index: 5, text: "a", others: ["b"], targets: [0, 1] },
    ]);
    for (
      const line of [
        "train: 6 examples; texts of 2 groups",
        '1 of 7 rows are alone in their groups ("z") and are left out: line 8',
        "train: 1 of 6 rows that repeat an earlier one and count again (line 7): remove them, or leave them out by -S repeated=drop",
      ]
    ) assertEquals(log.includes(line), true, `${line} in\n${log.join("\n")}`);
  }));

Deno.test("groups are held out whole, two or more", () =>
  withFolder(async (folder) => {
    const rows = Array.from({ length: 40 }, (_, i) => `text ${i},${i % 8}`);
    const text = ["text,intent", ...rows].join("\n");
    const { output, examples } = await read(folder, "a.csv", text, {
      ...GROUPED,
      holdout: 0.3,
    });
    const held = await readExamples(output, "validation");
    const groupsOf = (of: typeof examples) =>
      new Set(of.map(({ targets }) => targets![1]));
    assertEquals(groupsOf(held).size, 2);
    assertEquals(groupsOf(examples).size, 6);
    assertEquals(groupsOf(examples).isDisjointFrom(groupsOf(held)), true);
    await assertRejects(
      () => read(folder, "b.csv", text, { ...GROUPED, holdout: 0.1 }),
      RangeError,
      "has too few different texts for a holdout",
    );
  }));

const REFUSED: readonly (readonly [
  what: string,
  text: string,
  settings: Settings,
  message: string,
])[] = [
  [
    "one column",
    "anchor\na\nb\n",
    {},
    "name the column of the texts that are near the first ones, as by -S positive=COLUMN",
  ],
  [
    "an empty text",
    "anchor,positive\na,x\nb,\n ,y\n",
    {},
    "a.csv:3, 4; complete them, or leave them out by -S missing=skip",
  ],
  [
    "equal texts in all rows",
    "anchor,positive\na,a\nb,b\n",
    {},
    "The two texts of all 2 rows are equal (last row: ",
  ],
  [
    "a query in all rows",
    "anchor,positive\na,x\na,y\n",
    {},
    "a.csv:3), so that no text is a negative of another: add rows with other texts",
  ],
  [
    "one second text",
    "anchor,positive\na,x\nb,x\n",
    {},
    "The second texts of all 2 rows are equal (last row: ",
  ],
  [
    "a score that is none",
    "anchor,positive,score\na,x,high\nb,y,2\n",
    { score: "score" },
    'a.csv:2: Expected a number as the score, found "high"',
  ],
  [
    "scores beyond their range",
    "anchor,positive,score\na,x,1\nb,y,7\nc,z,-1\n",
    { score: "score", scoreRange: [0, 5] },
    "a.csv:3: The score 7 is not between 0 and 5: correct it, or set the range by -S scoreRange=[LEAST,MOST]",
  ],
  [
    "a text without a group",
    "text,intent\na,x\nb,\nc,x\n",
    GROUPED,
    "train: 1 of 3 rows have no group: ",
  ],
  [
    "an empty text with a group",
    "text,intent\na,x\n ,x\nc,y\n",
    GROUPED,
    "a.csv:3: A text is empty: write one, or remove the row",
  ],
  [
    "groups of which one alone has two texts",
    "text,intent\na,x\nb,x\nc,y\n",
    GROUPED,
    "Fewer than two groups have two different texts (last row: ",
  ],
  [
    "a column of groups that is lacking",
    "text,kind\na,x\nb,x\nc,y\nd,y\n",
    GROUPED,
    "name the column of the groups, as by -S group=kind",
  ],
  [
    "equal scores",
    "anchor,positive,score\na,x,1\nb,y,1\n",
    { score: "score" },
    "The scores of all 2 rows are 1 (last row: ",
  ],
];

for (const [what, text, settings, message] of REFUSED) {
  Deno.test(`fetch-data refuses ${what} with a remedy`, () =>
    withFolder(async (folder) => {
      const error = await assertRejects(() =>
        read(folder, "a.csv", text, settings)
      );
      assertIsError(error, SyntaxError, message);
    }));
}

Deno.test("a corpus has further texts, and rows whose answer it lacks are said with their lines", () =>
  withFolder(async (folder) => {
    const path = (name: string) => join(folder, name);
    await Deno.writeTextFile(path("corpus.csv"), "positive\nx\nz\nw\n");
    await Deno.writeTextFile(path("held.csv"), "anchor,positive\nb,x\nc,v\n");
    const text = "anchor,positive\na,x\nb,y\n";
    const files = {
      train: path("a.csv"),
      validation: path("held.csv"),
      corpus: path("corpus.csv"),
    };
    const { output, info } = await read(folder, "a.csv", text, { files });
    assertEquals(info.splits, { train: 2, validation: 2, corpus: 3 });
    assertEquals((await readExamples(output, "corpus"))[1], {
      index: 1,
      text: "z",
    });
    assertEquals(info.faults, [
      "validation: 1 of 2 rows with the texts of a row of train (line 2), so scores may be too high: remove duplicates from your files",
      "validation: 1 of 2 rows with an answer that the corpus lacks (line 3); it is searched among as well: add it to the corpus, or correct what differs",
    ]);
    await Deno.writeTextFile(path("corpus.csv"), "positive,id\nx,1\n ,2\n");
    await assertRejects(
      () => read(folder, "a.csv", text, { files }),
      SyntaxError,
      "corpus.csv:3: A text is empty: write one, or remove the row",
    );
    await Deno.writeTextFile(path("corpus.csv"), "text\nx\n");
    await assertRejects(
      () => read(folder, "a.csv", text, { files }),
      SyntaxError,
      'has no column "positive"; it has "text": texts of a corpus are in the column of the training file: rename a column to "positive"',
    );
  }));

Deno.test("tokenize says the pooling of a model that names none, before anything is trained", () =>
  withFolder(async (folder) => {
    const { output: data } = await read(
      folder,
      "a.csv",
      "anchor,positive\na,x\nb,y\n",
    );
    const model = join(folder, "model");
    await Deno.mkdir(model);
    const fixture = join(import.meta.dirname!, "../../fixtures/tiny-bert");
    for (const { name, isFile } of Deno.readDirSync(fixture)) {
      if (isFile) Deno.copyFileSync(join(fixture, name), join(model, name));
    }
    const params = { maxLength: 32 };
    const { log } = await runTask(tokenize, folder, params, { data, model });
    assertEquals(
      log[0],
      "An embedding is the mean of all tokens, by default: the model has no modules.json",
    );
    await Deno.mkdir(join(model, "1_Pooling"));
    await Deno.writeTextFile(join(model, "1_Pooling/config.json"), "{}");
    await assertRejects(
      () => runTask(tokenize, folder, params, { data, model }),
      SyntaxError,
      'has no "modules.json", but the other file that says how embeddings are made',
    );
  }));

Deno.test("-S missing=skip leaves out rows with an empty text", () =>
  withFolder(async (folder) => {
    const { examples } = await read(
      folder,
      "a.csv",
      "anchor,positive\na,x\nb,\n ,y\nc,z\n",
      { missing: "skip" },
    );
    assertEquals(examples.map(({ text }) => text), ["a", "c"]);
  }));

Deno.test("faults of texts that belong together are counted, with their lines", () =>
  withFolder(async (folder) => {
    const { info } = await read(
      folder,
      "a.csv",
      "anchor,positive,negative\na,x,y\na,x,y\na,z,x\nb,b,c\n",
      { negatives: ["negative"] },
    );
    assertEquals(info.faults, [
      "train: 1 of 4 rows with a negative that is also near the same text (line 4): it counts as near; correct the rows",
      "train: 1 of 4 rows that repeat an earlier one and count again (line 3): remove them, or leave them out by -S repeated=drop",
      "train: 1 of 4 rows whose first two texts are equal (line 5), of which nothing is learnt",
    ]);
  }));

Deno.test("fetch-data refuses columns that contradict each other", async () => {
  const files = { train: "a.csv" };
  for (
    const [params, message] of [
      [{ score: "s" }, "Expected positive with negatives or score"],
      [
        { positive: "p", score: "s", negatives: ["n"] },
        "Expected positive with negatives or score",
      ],
      [{ positive: "p", pair: "q" }, "Expected positive or group without pair"],
      [
        { group: "g", labels: ["a"] },
        "Expected positive or group without pair",
      ],
      [{ positive: "p", group: "g" }, "Expected one of positive and group"],
      [
        { positive: "p", negatives: ["p"] },
        "Expected another column than that of",
      ],
      [
        { positive: "p", missing: "none" },
        "applies to texts that may have several labels",
      ],
    ] as const
  ) {
    const error = await assertRejects(() =>
      Promise.resolve().then(() => fetchData.params.parse({ files, ...params }))
    );
    assertIsError(error, Error, message);
  }
});
