import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertRejects,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { UsageError } from "../../../lib/cli/arguments/arguments.ts";
import { inspectTable } from "../../../lib/cli/commands/inspect_table.ts";
import { withFolder } from "../../tasks/run_task.ts";
import { callHere, outWithCode } from "../project.ts";

/** Output folder of the pipelines. */
const own = await outWithCode();
const out = ["--out", own];

const FIXTURES = fileURLToPath(new URL("../../../fixtures", import.meta.url));

Deno.test("init writes a pipeline that reads the data, and says the command", () =>
  withFolder(async (folder) => {
    const data = join(FIXTURES, "tiny-glue/SST-2/train.tsv");
    const file = join(folder, "it's (mine).yaml");
    const { code, lines, stdout, stderr } = await callHere(
      ...["init", data, "--to", file],
    );
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /label {3}"label", 2 classes: \d \d+, \d \d+$/m);
    const word = `'${folder}/it'\\''s (mine).yaml'`;
    assertEquals(lines.at(-1), `  deno task pipeline ${word}`);
    const text = await Deno.readTextFile(file);
    assertMatch(
      text,
      /^# yaml-language-server: \$schema=\S+\/out\/pipeline\.schema\.json\n# .*\n# A starter for .*: \d+ rows with the columns "sentence", "label"/,
    );
    // What the first line names is there, and accepts the file.
    const [, schema] = /\$schema=(.*)/.exec(text)!;
    const validate = new Ajv2020({ strict: false }).compile(
      JSON.parse(await Deno.readTextFile(join(folder, schema!))),
    );
    assert(validate(parse(text)), JSON.stringify(validate.errors));
    assertMatch(text, /^ {2}# One training that serves every rank/m);
    const { name, params, stages } = parse(text.replaceAll(/\$\{.*?\}/g, "x"));
    assertEquals(name, "it-s-mine");
    assertEquals(
      [params.train, params.text, params.label, params.pair, params.regression],
      [
        "./fixtures/tiny-glue/SST-2/train.tsv",
        "sentence",
        "label",
        null,
        false,
      ],
    );
    assertEquals(Object.keys(stages).includes("take-away"), true);

    const ran = await callHere("pipeline", file, "data", ...out);
    assertEquals(ran.code, 0, ran.stdout + ran.stderr);
    const planned = await callHere(
      ...["plan", file, "-S", "model=./fixtures/tiny-roberta", ...out],
    );
    assertEquals(planned.code, 0, planned.stderr);
    assertMatch(planned.stdout, /^unchanged +data/m);
  }));

Deno.test("init names the columns of texts that the pipeline does not read, and the option that adds one", () =>
  withFolder(async (folder) => {
    const data = join(folder, "a.csv");
    const rows = ["good", "bad"].flatMap((label, i) => [
      `${i};my title;a text that is longer;${label};x ${i}`,
      `${i + 2};title;a longer text;${label};y`,
    ]);
    await Deno.writeTextFile(
      data,
      ["id;the title;text;label;tag", ...rows].join("\r\n"),
    );
    const summaryOf = async (...options: string[]) => {
      const to = ["--to", join(folder, "a.yaml"), "--force"];
      const { code, lines, stderr } = await callHere(
        ...["init", data, ...to, ...options],
      );
      assertEquals(code, 0, stderr);
      return lines.filter((it) => /^ {2}(pair|unused)/.test(it));
    };
    assertEquals(await summaryOf(), [
      `  unused  "the title", median 8 characters, maximum 8: read it too by --pair 'the title'`,
      `  unused  "tag", median 3 characters, maximum 3: read it too by --pair tag`,
    ]);
    assertEquals(await summaryOf("--pair", "the title"), [
      `  pair    "the title", median 8 characters, maximum 8`,
      `  unused  "tag", median 3 characters, maximum 3`,
    ]);
  }));

Deno.test("init reads a table of another encoding, packed, and the pipeline reads it so", () =>
  withFolder(async (folder) => {
    const data = join(folder, "a.csv.gz");
    const table = Array.from(
      { length: 40 },
      (_, i) => `d\xe9j\xe0 vu ${i};${i / 8}`.replace(".", ","),
    );
    await Deno.writeFile(
      data,
      gzipSync(Buffer.from(["text;score", ...table].join("\r\n"), "latin1")),
    );
    const file = join(folder, "a.yaml");
    const refused = await callHere("init", data, "--to", file);
    assertEquals(refused.code, 1);
    assertMatch(
      refused.stderr,
      /a\.csv\.gz" is not valid UTF-8.*encoding=latin1 .*--encoding latin1/,
    );
    const { code, lines, stderr } = await callHere(
      ...["init", data, "--to", file, "--encoding=latin1"],
    );
    assertEquals(code, 0, stderr);
    assertEquals(
      lines[2],
      '  label   "score", regression, numbers from 0 to 4.875',
    );
    const ran = await callHere("pipeline", file, "data", ...out);
    assertEquals(ran.code, 0, ran.stdout + ran.stderr);
    const dataset = join(own, "a/data/train.jsonl");
    assertMatch(
      await Deno.readTextFile(dataset),
      /^\{"index":\d+,"text":"déjà vu \d+","label":[\d.]+\}$/m,
    );
  }));

Deno.test("pipeline own-data asks for a file, and says which option names another column of it", () =>
  withFolder(async (folder) => {
    const data = join(folder, "a.csv");
    await Deno.writeTextFile(data, "review,sentiment\ngood,1\nbad,0\n");
    const call = async (...settings: string[]) => {
      const { stdout, stderr } = await callHere(
        ...["pipeline", "own-data", "data", ...out],
        ...settings.flatMap((it) => ["-S", it]),
      );
      return stdout + stderr;
    };
    assertEquals(
      (await call()).split("\n", 1),
      [
        "Pipeline own-data needs a file: -S train=FILE, and -S text=COLUMN and -S label=COLUMN to name its columns",
      ],
    );
    const lacking = await call(`train=${data}`);
    assertMatch(
      lacking,
      /has no column "sentence"; it has "review", "sentiment": name the column of the texts, as by -S text=review\n/,
    );
    assertNotMatch(lacking, /set by/);
    await Deno.writeTextFile(join(folder, "b.jsonl"), '{"text": "a", "label"}');
    const broken = await call(
      ...[`train=${join(folder, "b.jsonl")}`, "text=text", "label=label"],
    );
    assertMatch(broken, /b\.jsonl:1:22: Expected a JSON object on one line/);
    assertNotMatch(broken, /set by/);
  }));

Deno.test("init shows names of the data without control characters, each on one line", () =>
  withFolder(async (folder) => {
    const data = join(folder, "odd.jsonl");
    const rows = ["a\u001b[31m", "b\nnext: line"].map((label, i) =>
      JSON.stringify({ text: `text ${i}`, "the\nlabel": label })
    );
    await Deno.writeTextFile(data, rows.join("\n"));
    const file = join(folder, "odd.yaml");
    const { code, lines, stderr } = await callHere(
      ...["init", data, "--label", "the\nlabel", "--to", file],
    );
    assertEquals(code, 0, stderr);
    const classes = "2 classes: a\ufffd[31m 1, b\ufffdnext: line 1";
    assertEquals(lines[2], `  label   "the\ufffdlabel", ${classes}`);
    const text = await Deno.readTextFile(file);
    assert(!text.includes("\u001b") && !/^#? *next/m.test(text));
    const { params } = parse(text.replaceAll(/\$\{.*?\}/g, "x"));
    assertEquals(params.label, "the\nlabel");
  }));

Deno.test("init quotes names that some readers of YAML take for numbers", () =>
  withFolder(async (folder) => {
    const data = join(folder, "2024_01.tsv");
    const rows = ["1_000\t0b1", "good\tpos", "bad\tneg"];
    await Deno.writeTextFile(data, rows.join("\n"));
    const file = join(folder, "2024_01.yaml");
    const written = await callHere(
      ...["init", data, "--text", "1_000", "--label", "0b1", "--to", file],
    );
    assertEquals(written.code, 0, written.stderr);
    const { name, params } = parse(
      (await Deno.readTextFile(file)).replaceAll(/\$\{.*?\}/g, "x"),
    );
    assertEquals(
      [name, params.name, params.text, params.label],
      ["2024_01", "2024_01", "1_000", "0b1"],
    );
    const planned = await callHere(
      ...["plan", file, ...out],
    );
    assertEquals(planned.code, 0, planned.stderr);
  }));

Deno.test("init replaces no file unless told to", () =>
  withFolder(async (folder) => {
    const data = join(FIXTURES, "tiny-glue/SST-2/train.tsv");
    const file = join(folder, "mine.yaml");
    await Deno.writeTextFile(file, "the user's");
    const refused = await callHere("init", data, "--to", file);
    assertEquals(refused.code, 2);
    assertMatch(refused.stderr, /already exists.*--to.*--force/);
    assertEquals(await Deno.readTextFile(file), "the user's");
    const beside = join(folder, "beside");
    await Deno.link(file, beside);
    assertEquals((await callHere("init", data, "--to", file, "-f")).code, 0);
    assertMatch(await Deno.readTextFile(file), /^name: mine$/m);
    // Written beside and renamed: a failure leaves the user's file whole.
    assertEquals(await Deno.readTextFile(beside), "the user's");
    const inside = await callHere("init", data, "--to", join(file, "p.yaml"));
    assertEquals(inside.code, 2);
    assertEquals(
      inside.stderr.split("\n")[0],
      `"${file}/p.yaml" cannot be created because "${file}" is a file: choose another file with --to`,
    );
    const taken = join(folder, "taken.yaml");
    await Deno.mkdir(taken);
    const onFolder = await callHere("init", data, "--to", taken, "--force");
    assertEquals(onFolder.code, 2);
    assertMatch(
      onFolder.stderr,
      /taken\.yaml" is a folder: choose another file/,
    );
    const smoke = join(folder, "smoke.tsv");
    await Deno.copyFile(data, smoke);
    const named = await callHere("init", smoke);
    assertEquals(named.code, 2);
    assertMatch(named.stderr, /^"pipelines\/smoke\.yaml" already exists/);
  }));

Deno.test("init reads a table with hundreds of thousands of columns, and lists ten of them", () =>
  withFolder(async (folder) => {
    const data = join(folder, "wide.csv");
    const names = Array.from({ length: 200_000 }, (_, i) => `c${i}`);
    const rows = [
      [...names, "text", "label"],
      ...["good", "bad"].map((label) => [...names, "a text", label]),
    ];
    await Deno.writeTextFile(data, rows.map((it) => it.join()).join("\n"));
    const file = join(folder, "wide.yaml");
    const { code, lines, stderr } = await callHere("init", data, "--to", file);
    assertEquals(code, 0, stderr);
    assertEquals(lines[0], `${data}: 2 rows, 200002 columns`);
    assertMatch(
      await Deno.readTextFile(file),
      /^# .* "c9" and 199992 more\.$/m,
    );
  }));

Deno.test("init refuses a column or a file whose name would be a reference in the pipeline", () =>
  withFolder(async (folder) => {
    const to = ["--to", join(folder, "mine.yaml")];
    const data = join(folder, "a.csv");
    await Deno.writeTextFile(data, "te${x}t,label\ngood,1\nbad,0\n");
    const column = await callHere("init", data, ...to);
    assertEquals(column.code, 2);
    assertMatch(
      column.stderr,
      /^"te\$\{x\}t" cannot be .*"text".*the column$/m,
    );
    const other = join(folder, "${a}.csv");
    await Deno.writeTextFile(other, "text,label\ngood,1\nbad,0\n");
    const file = await callHere("init", other, ...to);
    assertMatch(file.stderr, /\$\{a\}\.csv" cannot be .*: rename the file$/m);
    assertEquals([...Deno.readDirSync(folder)].length, 2);
  }));

Deno.test("inspectTable() finds texts, pairs and labels by names, and else by contents", () =>
  withFolder(async (folder) => {
    const write = async (name: string, rows: readonly string[]) => {
      const path = join(folder, name);
      await Deno.writeTextFile(path, rows.map((row) => `${row}\n`).join(""));
      return path;
    };
    const csv = await write("a.csv", [
      "id,said,verdict",
      ...Array.from(
        { length: 60 },
        (_, i) =>
          `${i},"a long text, number ${i} of them",${["good", "bad"][i % 2]}`,
      ),
    ]);
    const found = await inspectTable(csv, {});
    assertEquals(
      [found.text.name, found.pair, found.label.name, found.regression],
      ["said", undefined, "verdict", false],
    );
    assertEquals(found.classes, [["bad", 30], ["good", 30]]);
    assertEquals(found.problems, []);

    const pairs = await write("b.jsonl", [
      ...Array.from(
        { length: 40 },
        (_, i) =>
          JSON.stringify({ premise: "p", hypothesis: "h", score: i / 8 }),
      ),
      JSON.stringify({ premise: "p", hypothesis: null, score: 1 }),
      JSON.stringify({ premise: "p", hypothesis: "h" }),
    ]);
    const scores = await inspectTable(pairs, {});
    assertEquals(
      [scores.text.name, scores.pair?.name, scores.regression, scores.range],
      ["premise", "hypothesis", true, [0, 39 / 8]],
    );
    assertEquals(scores.problems.length, 2);
    assertMatch(scores.problems[0]!, /^1 row without a label, .*b\.jsonl:42/);
    assertMatch(scores.problems[1]!, /^1 row without a text, .*b\.jsonl:41/);

    const numbered = await write("g.tsv", [
      "Quality\t#1 ID\t#1 String\t#2 String",
      ...Array.from(
        { length: 30 },
        (_, i) => `${i % 2}\t${i}\ta text, ${i}\tanother text, ${i}`,
      ),
    ]);
    const both = await inspectTable(numbered, {});
    assertEquals(
      [both.text.name, both.pair?.name, both.label.name],
      ["#1 String", "#2 String", "Quality"],
    );

    // Stars are classes, even if they are written as decimals.
    const stars = await write("c.tsv", [
      "text\tstars",
      ...Array.from({ length: 30 }, (_, i) => `t${i}\t${i % 5 + 1}.0`),
    ]);
    assertEquals((await inspectTable(stars, {})).regression, false);

    await assertRejects(
      () => inspectTable(csv, { label: "verdikt" }),
      UsageError,
      'did you mean "verdict"?',
    );
    for (
      const [name, separator, labels] of [
        ["h.tsv", "\t", ["1", "0"]],
        ["i.csv", ",", ["yes", "no"]],
        ["j.csv", ",", ["0.5", "1.25", "2.5"]],
      ] as const
    ) {
      const rows = Array.from(
        { length: 12 },
        (_, i) => `a text ${i}${separator}${labels[i % labels.length]}`,
      );
      const headless = await write(name, rows);
      await assertRejects(
        () => inspectTable(headless, {}),
        UsageError,
        "seems to be an example",
      );
    }
    const one = await write("k.tsv", ["text\t1", "bad one\t0", "a third\t1"]);
    assertEquals((await inspectTable(one, { label: "1" })).label.name, "1");
    const same = await write("e.csv", ["text,label", "a,1", "b,1"]);
    await assertRejects(
      () => inspectTable(same, { label: "label" }),
      UsageError,
      "1 distinct value, expected 2 to 1000",
    );
    const constant = await write("h.csv", [
      "text,label,lang",
      "a,1,en",
      "b,1,de",
    ]);
    await assertRejects(
      () => inspectTable(constant, {}),
      UsageError,
      'Column "label" of',
    );
    const repeated = await write("i.csv", [
      "text,label,,,note,note",
      "a,1,,,x,y",
      "b,2,,,x,y",
    ]);
    const unique = await inspectTable(repeated, {});
    assertEquals([unique.text.name, unique.label.name], ["text", "label"]);
    assertEquals(unique.columns, ["text", "label", "", "", "note", "note"]);
    for (const header of ["text,label,label,kind", "text,text,kind,label"]) {
      const path = await write("j.csv", [header, "a,b,1,2", "c,d,2,1"]);
      await assertRejects(
        () => inspectTable(path, {}),
        SyntaxError,
        "more than once, as columns",
      );
    }
    await assertRejects(
      () => inspectTable(repeated, { pair: "note" }),
      SyntaxError,
      'the column "note" more than once, as columns 5 and 6; rename all but one',
    );
    await assertRejects(
      () => inspectTable(repeated, { text: "text", label: "text" }),
      UsageError,
      'Column "text" is named more than once: give --text, --pair and --label different columns',
    );
    const ids = await write("f.csv", [
      "text",
      ...Array.from({ length: 60 }, (_, i) => `text number ${i}`),
    ]);
    await assertRejects(() => inspectTable(ids, {}), UsageError, "--label");
  }));

Deno.test("inspectTable() reads parquet, and estimates a length that holds 99 % of the texts", async () => {
  const path = join(FIXTURES, "tiny-hub/rte/train-00000-of-00001.parquet");
  const seen = await inspectTable(path, {});
  assertEquals(
    [seen.text.name, seen.pair?.name, seen.label.name],
    ["sentence1", "sentence2", "label"],
  );
  assert(seen.tokens % 32 === 0 && seen.tokens >= 32 && seen.tokens <= 512);
  assert(seen.text.longest / 3 + 4 <= seen.tokens);
});

Deno.test("inspectTable() takes class ids whose names the file records as these classes, however many", async () => {
  const path = join(FIXTURES, "tiny-intents/train.parquet");
  const seen = await inspectTable(path, {});
  assertEquals([seen.label.name, seen.regression], ["label", false]);
  assertEquals(seen.classes.length, 25);
  assertEquals(seen.classes.slice(0, 2), [["card lost", 2], ["intent 0", 2]]);
  assertEquals(seen.problems, []);
});

Deno.test("inspectTable() counts no class for -1 where the file records the classes", async () => {
  const path = join(FIXTURES, "tiny-undecided/train.parquet");
  const { classes, problems } = await inspectTable(path, {});
  assertEquals(classes.map(([name]) => name).sort(), ["better", "worse"]);
  assertEquals(problems, []);
});

Deno.test("inspectTable() finds labels that the pipeline would refuse: lists, dates, unrecorded and too many classes", () =>
  withFolder(async (folder) => {
    const write = async (name: string, labels: readonly unknown[]) => {
      const path = join(folder, name);
      const rows = labels.map((label, i) =>
        JSON.stringify({ text: `text ${i}`, label })
      );
      await Deno.writeTextFile(path, rows.join("\n"));
      return path;
    };
    const problems = async (path: string, label = "label") =>
      (await inspectTable(path, { label })).problems;

    const some = await write("some.jsonl", ["neg", ["pos"], "pos", ["neg"]]);
    assertEquals(await problems(some), [
      `2 rows with a label that is not text, a number or a boolean, first ${some}:2: remove them`,
    ]);
    const all = await write("all.jsonl", [["neg"], ["pos"]]);
    await assertRejects(
      () => inspectTable(all, {}),
      UsageError,
      `Column "label" of "${all}" has a list in each row, expected text, a number or a boolean`,
    );
    const times = join(FIXTURES, "tiny-intents/train.parquet");
    await assertRejects(
      () => inspectTable(times, { label: "sent" }),
      UsageError,
      "has a date in each row",
    );
    const bytes = await Deno.readFile(times);
    const last = ', " card lost"';
    const at = Buffer.from(bytes).indexOf(last);
    bytes.set(new TextEncoder().encode(" ".repeat(last.length)), at);
    const unnamed = join(folder, "unnamed.parquet");
    await Deno.writeFile(unnamed, bytes);
    assertEquals(await problems(unnamed), [
      `2 rows with a label that is not one of the recorded classes, first "${unnamed}", row 25: remove them`,
    ]);
    const many = Array.from({ length: 20 }, (_, i) => `class ${i % 11}`);
    assertEquals(await problems(await write("many.jsonl", many)), [
      'The labels of 20 rows have 11 different values, such as "class 0", too many to learn as classes: check the column of the label',
    ]);
  }));
