import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { parse } from "yaml";
import { withFolder } from "../../tasks/run_task.ts";
import { callHere, outWithCode } from "../project.ts";

const out = ["--out", await outWithCode()];

const ROWS = 60;

/** A table of this many rows, in JSON Lines. */
function table(row: (i: number) => Record<string, unknown>): string {
  return Array.from({ length: ROWS }, (_, i) => JSON.stringify(row(i)))
    .join("\n");
}

const question = (i: number) => `how do I pay the bill number ${i} ?`;
const answer = (i: number) => `the bill ${i} is paid at counter ${i % 7} .`;
const other = (i: number) => `nobody pays ${i} bills on a day like this .`;

/** What init says of a file, and the parameters that it writes. */
async function init(folder: string, text: string, ...options: string[]) {
  const data = join(folder, "a.jsonl");
  const file = join(folder, "a.yaml");
  await Deno.writeTextFile(data, text);
  const to = ["--to", file, "--force"];
  const called = await callHere("init", data, ...to, ...options);
  const params = called.code === 0
    ? parse((await Deno.readTextFile(file)).replaceAll(/\$\{.*?\}/g, "x"))
      .params
    : undefined;
  return { ...called, file, params };
}

const RECOGNIZED: readonly {
  readonly what: string;
  readonly row: (i: number) => Record<string, unknown>;
  readonly options?: readonly string[];
  readonly said: RegExp;
  readonly params: Readonly<Record<string, unknown>>;
}[] = [
  {
    what: "anchor, positive and negative",
    row: (i) => ({
      negative: other(i),
      positive: answer(i),
      anchor: question(i),
    }),
    said: / {2}negative {2}"negative", .*, not near it/,
    params: {
      text: "anchor",
      positive: "positive",
      negatives: ["negative"],
      score: null,
    },
  },
  {
    what: "query, positive and two negatives, with ids",
    row: (i) => ({
      id: `q${i}`,
      query: question(i),
      positive: answer(i),
      negative_1: other(i),
      negative_2: other(i + 1),
    }),
    said: / {2}positive {2}"positive", .*, near it/,
    params: {
      text: "query",
      positive: "positive",
      negatives: ["negative_1", "negative_2"],
    },
  },
  {
    what: "two columns of texts and no label",
    row: (i) => ({ answer: answer(i), question: question(i) }),
    said:
      / {2}text {6}"question", median 33 .*\n {2}positive {2}"answer".*\n {2}or {8}texts to write: deno task pipeline e2e -S '?train=.+a\.jsonl'? -S validation=null -S prompt=question -S completion=answer$/m,
    params: { text: "question", positive: "answer", negatives: null },
  },
  {
    what: "two columns and a score that the user names",
    row: (i) => ({
      sentence1: question(i),
      sentence2: answer(i),
      score: (i % 11) / 2,
    }),
    options: ["--positive", "sentence2", "--label", "score"],
    said: / {2}score {5}"score", how near they are/,
    params: { text: "sentence1", positive: "sentence2", score: "score" },
  },
  {
    what: "two columns that the user names beside a label",
    row: (i) => ({
      sentence1: question(i),
      sentence2: answer(i),
      label: i % 2,
    }),
    options: ["--text", "sentence2", "--positive", "sentence1"],
    said:
      / {2}unused {4}"label": learn its order by --text sentence2 --positive sentence1 --label label/,
    params: { text: "sentence2", positive: "sentence1", score: null },
  },
];

for (const { what, row, options = [], said, params } of RECOGNIZED) {
  Deno.test(`init recognizes texts that belong together, and the pipeline reads them: ${what}`, () =>
    withFolder(async (folder) => {
      const found = await init(folder, table(row), ...options);
      assertEquals(found.code, 0, found.stderr);
      assertMatch(found.stdout, said);
      assert(!found.stdout.includes("problem"), found.stdout);
      for (const [name, value] of Object.entries(params)) {
        assertEquals(found.params[name], value, name);
      }
      assertEquals(found.params.training.learningRate, 5e-4);
      const ran = await callHere("pipeline", found.file, "data", ...out);
      assertEquals(ran.code, 0, ran.stdout + ran.stderr);
      assertMatch(
        ran.stdout,
        params.score ? /pairs of texts with scores/ : /texts that belong/,
      );
    }));
}

Deno.test("init leaves labels of pairs, texts to write and columns of 0 and 1 as they are", () =>
  withFolder(async (folder) => {
    const cases: readonly (readonly [
      row: (i: number) => Record<string, unknown>,
      expected: Readonly<Record<string, unknown>>,
    ])[] = [
      [
        (i) => ({
          question1: question(i),
          question2: answer(i),
          is_duplicate: i % 2,
        }),
        {
          text: "question1",
          pair: "question2",
          label: "is_duplicate",
          positive: null,
        },
      ],
      [
        (i) => ({
          sentence1: question(i),
          sentence2: answer(i),
          score: (i % 50) / 10,
        }),
        { pair: "sentence2", label: "score", regression: true, positive: null },
      ],
      [
        (i) => ({ title: question(i), body: answer(i), kind: `k${i % 3}` }),
        { text: "body", label: "kind", positive: null },
      ],
      [
        (i) => ({ prompt: question(i), completion: answer(i) }),
        { prompt: "prompt", completion: "completion" },
      ],
      [
        (i) => ({ text: question(i), positive: i % 2 ? "yes" : "no" }),
        { text: "text", label: "positive", positive: null },
      ],
      [
        (i) => ({ text: question(i), positive: i % 2, negative: 1 - i % 2 }),
        { text: "text", positive: null },
      ],
    ];
    for (const [row, expected] of cases) {
      const { code, stderr, params } = await init(
        folder,
        table(row),
        ...("positive" in row(0) && "negative" in row(0)
          ? ["--label", "positive"]
          : []),
      );
      assertEquals(code, 0, stderr);
      for (const [name, value] of Object.entries(expected)) {
        assertEquals(params[name], value, `${JSON.stringify(row(1))}: ${name}`);
      }
    }
  }));

Deno.test("init asks where texts that belong together also have what may be labels, or have no usual names", () =>
  withFolder(async (folder) => {
    const scored = (i: number) => ({
      anchor: question(i),
      positive: answer(i),
      score: i / 4,
    });
    const cases: readonly (readonly [
      row: (i: number) => Record<string, unknown>,
      options: readonly string[],
      message: RegExp,
    ])[] = [
      [
        scored,
        [],
        /a column "score"; say which it is by options:\n {2}--text "anchor" --positive "positive" --label "score" {2}embeddings whose .*\n {2}--text "anchor" --positive "positive" {2}embeddings, .*\n {2}--text "anchor" --pair "positive" --label "score" {2}the label/,
      ],
      [
        (i) => ({ a: question(i), b: answer(i), c: other(i) }),
        [],
        /looks like labels .*name the second ones with --positive; if texts are to be written/,
      ],
      [scored, ["--positive", "answer"], /has no column "answer"; it has/],
      [
        scored,
        ["--positive", "positive", "--text", "positive"],
        /besides "positive" is named .*: name it with --text$/m,
      ],
      [
        scored,
        ["--positive", "positive", "--pair", "anchor"],
        /^Option "--pair" names .*: give one of them$/m,
      ],
      [
        (i) => ({ ...scored(i), negative: other(i) }),
        ["--positive", "positive", "--label", "score"],
        /has a column of negatives, "negative", which have no score: /,
      ],
    ];
    for (const [row, options, message] of cases) {
      const { code, stderr } = await init(folder, table(row), ...options);
      assertMatch(stderr, message);
      assertEquals(code, 2, stderr);
    }
  }));

Deno.test("init says what the pipeline would refuse of texts that belong together, with lines", () =>
  withFolder(async (folder) => {
    const problemsOf = async (text: string, ...options: string[]) => {
      const { code, stdout, stderr } = await init(folder, text, ...options);
      assertEquals(code, 0, stderr);
      return stdout.split("\n").filter((it) => it.startsWith("  problem"));
    };
    const [lacking, ...more] = await problemsOf(
      table((i) => ({
        anchor: question(i),
        positive: i === 4 ? " " : answer(i),
      })),
    );
    assertEquals(more, []);
    assertMatch(
      lacking!,
      /rows without a value in one of their columns: 1, first .*a\.jsonl:5: complete them, or leave them out by -S missing=skip$/,
    );
    const [equal] = await problemsOf(
      table((i) => ({ anchor: question(i), positive: question(i) })),
    );
    assertMatch(equal!, /The two texts of all 60 rows are equal/);
    const [score] = await problemsOf(
      table((i) => ({
        anchor: question(i),
        positive: answer(i),
        score: i === 7 ? "high" : i,
      })),
      ...["--positive", "positive", "--label", "score"],
    );
    assertMatch(
      score!,
      /a\.jsonl:8: Expected a number as the score, found "high"/,
    );
  }));
