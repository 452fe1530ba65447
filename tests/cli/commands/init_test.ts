import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
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
    assertMatch(stdout, /label {3}"label", 2 classes: "\d" \d+, "\d" \d+$/m);
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
      JSON.parse(
        // As yaml-language-server reads it: relative to the file, and decoded.
        await Deno.readTextFile(join(folder, decodeURIComponent(schema!))),
      ),
    );
    assert(validate(parse(text)), JSON.stringify(validate.errors));
    assertMatch(text, /^ {2}# One training that serves every rank/m);
    // A trial does not read more of a text than the pipeline.
    const [, length] = /^ {2}maxLength: (\d+)/m.exec(text)!;
    const [, trial] = /^ {2}trial: .*maxLength: (\d+)/m.exec(text)!;
    assertEquals([length, trial], ["32", "32"]);
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
      `${i};my title ${i};a text that is longer;${label};x ${i}`,
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
      `  unused  "the title", median 10 characters, maximum 10: read it too by --pair 'the title'`,
      `  unused  "tag", median 3 characters, maximum 3: read it too by --pair tag`,
    ]);
    assertEquals(await summaryOf("--pair", "the title"), [
      `  pair    "the title", median 10 characters, maximum 10`,
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
      '  label   "score", scores from 0 to 4.875, mean 2.438',
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
      /has no column "sentence"; it has "review", "sentiment": name the column of the texts, as by -S text=review\n {2}run: deno task pipeline own-data data -S '?train=.+\/a\.csv'? -S text=review --out .+\n/,
    );
    // What reads results takes the file of the last run, and the stage that
    // failed.
    const logged = await callHere("logs", "own-data", ...out);
    assertMatch(
      logged.stderr,
      /^As in the last run: -S '?train=.+\/a\.csv'?\n/,
    );
    assertMatch(logged.stdout + logged.stderr, /has no column "sentence"/);
    await Deno.writeTextFile(join(folder, "b.jsonl"), '{"text": "a", "label"}');
    const broken = await call(
      ...[`train=${join(folder, "b.jsonl")}`, "text=text", "label=label"],
    );
    assertMatch(broken, /b\.jsonl:1:22: Expected a JSON object on one line/);
  }));

Deno.test("own-data names the profile for texts that belong together, and for words with tags", () =>
  withFolder(async (folder) => {
    const pairs = join(folder, "faq.tsv");
    const rows = Array.from(
      { length: 12 },
      (_, i) => `${i}\thow do I ask ${i}\tyou just ask for ${i}`,
    );
    await Deno.writeTextFile(
      pairs,
      ["id\tmy question\tanswer", ...rows].join("\n"),
    );
    const planned = async (path: string) => {
      const train = `train=${path}`;
      const plan = await callHere("plan", "own-data", "-S", train, ...out);
      return plan.stderr;
    };
    assertStringIncludes(
      await planned(pairs),
      '--profile similarity of own-data, with -S "text=my question" -S positive=answer\n',
    );
    const settings = ["text=my question", "positive=answer"];
    const { code, stderr } = await callHere(
      ...["plan", "own-data", "--profile", "similarity"],
      ...[`train=${pairs}`, ...settings].flatMap((it) => ["-S", it]),
      ...out,
    );
    assertEquals(code, 0, stderr);
    const tagged = join(folder, "words.conll");
    await Deno.writeTextFile(tagged, "Paul\tB-PER\nsaid\tO\n\nHi\tO\n");
    assertStringIncludes(await planned(tagged), "--profile tokens of own-data");
    // A number of each pair is what is predicted.
    const scored = join(folder, "scored.csv");
    await Deno.writeTextFile(scored, "a,b,near\nx y,z y,0.5\nx z,z z,0.25\n");
    assertStringIncludes(await planned(scored), "as by -S text=");
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
    const classes = '2 classes: "a\ufffd[31m" 1, "b\ufffdnext: line" 1';
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
    assertMatch(await Deno.readTextFile(file), /^name: "mine"$/m);
    // Written beside and renamed: a failure leaves the user's file whole.
    assertEquals(await Deno.readTextFile(beside), "the user's");
    const inside = await callHere("init", data, "--to", join(file, "p.yaml"));
    assertEquals(inside.code, 2);
    assertEquals(
      inside.stderr.split("\n")[0],
      `"${file}" is a file: choose another file with --to`,
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

Deno.test("init sees words with tags and their scheme, texts with spans, and what the pipeline would refuse", () =>
  withFolder(async (folder) => {
    const summaryOf = async (name: string, content: string) => {
      const data = join(folder, name);
      await Deno.writeTextFile(data, content);
      const file = join(folder, "a.yaml");
      const { code, lines, stderr } = await callHere(
        ...["init", data, "--to", file, "--force"],
      );
      assertEquals(code, 0, stderr);
      const text = await Deno.readTextFile(file);
      const { params } = parse(text.replaceAll(/\$\{.*?\}/g, "x"));
      const end = lines.indexOf("");
      return {
        columns: [params.text, params.label, params.regression],
        said: lines.slice(1, end).map((it) => it.replace(data, name).trim()),
      };
    };
    assertEquals(await summaryOf("a.conll", "anna B-PER\nis O\n\nhere O\n"), {
      columns: ["tokens", "tags", false],
      said: [
        'text    "tokens", median 7 characters, maximum 7',
        'label   "tags", tags in BIO; 3 words, with entities: "PER" 1',
      ],
    });
    const { said } = await summaryOf("a.conll", "x B-A\ny I-B\n\nz O\n");
    assertEquals(said.slice(1), [
      'label   "tags", tags in BIO',
      "problem 1 tags are forbidden in BIO: correct them, or repair them by -S tags=repair",
      'problem a.conll:2: "I-B" follows "B-A"',
    ]);
    const spans = [{ start: 0, end: 3, label: "x" }];
    const found = await summaryOf(
      "a.jsonl",
      `${JSON.stringify({ text: "anna is", spans })}\n`,
    );
    assertEquals(found.columns, ["text", "spans", false]);
    assertEquals(found.said.slice(1), [
      'label   "spans", tags in BIO; 2 words, with entities: "x" 1',
      "problem 1 spans end inside a word, and are taken to the end of the word (first a.jsonl:1)",
    ]);
  }));

Deno.test("init writes a pipeline for texts to write, with 300 steps and no LoRA to compare with", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a.jsonl");
    const messages = [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
    ];
    const file = join(folder, "a.yaml");
    const to = ["--to", file, "--force"];
    for (
      const { row, expected, said } of [
        {
          row: { prompt: "a", completion: "b" },
          expected: { prompt: "prompt", completion: "completion" },
          said: '  texts   "completion", after those of "prompt"',
        },
        {
          row: { messages },
          expected: { messages: "messages", completion: null },
          said: '  texts   the last messages of "messages"',
        },
      ]
    ) {
      const lines = Array.from({ length: 160 }, () => JSON.stringify(row));
      await Deno.writeTextFile(path, lines.join("\n"));
      const called = await callHere("init", path, ...to);
      assertEquals(called.code, 0, called.stderr);
      assertEquals(called.lines.slice(0, 3), [
        `${path}: 160 rows`,
        said,
        "  steps   about 306 in 34 epochs",
      ]);
      const text = await Deno.readTextFile(file);
      const { params } = parse(text.replaceAll(/\$\{.*?\}/g, "x"));
      for (const [name, value] of Object.entries(expected)) {
        assertEquals(params[name], value);
      }
      assertEquals(params.loraRanks, []);
      assertEquals(params.training.epochs, 34);
      const dry = await callHere("pipeline", file, "--dry-run", ...out);
      assertEquals(dry.code, 0, dry.stderr);
      assert(!/train-lora/.test(dry.stdout), dry.stdout);
      const own = await callHere(
        ...["plan", "own-data", "-S", `train=${path}`, ...out],
      );
      assertMatch(own.stderr, /has texts to write: .* pipeline e2e with -S /);
    }
    // A table with labels may have such a column as well.
    const rows = ["good", "bad"].map((label) => (
      { text: "a b c", messages: 3, label }
    ));
    await Deno.writeTextFile(
      path,
      rows.map((it) => JSON.stringify(it)).join("\n"),
    );
    assertEquals((await callHere("init", path, ...to)).code, 0);
  }));

Deno.test("init asks which of several columns is the label, and plan own-data names texts, not ids", () =>
  withFolder(async (folder) => {
    const path = join(folder, "tickets.csv");
    const rows = Array.from({ length: 40 }, (_, i) =>
      [
        `T-${i}`,
        `my ticket number ${i}`,
        ["bill", "fault"][i % 2],
        ["low", "high", "none"][i % 3],
      ].join(";"));
    const table = ["Ticket;Message;Kind;Urgency", ...rows].join("\r\n");
    await Deno.writeTextFile(path, table);
    const to = ["--to", join(folder, "a.yaml")];
    const asked = await callHere("init", path, ...to);
    assertEquals(asked.code, 2);
    assertEquals(asked.stderr.split("\n").slice(0, 3), [
      `More than one column of "${path}" may be the label: name it, as by --label "Kind"`,
      '  "Kind", 2 classes: "bill", "fault"',
      '  "Urgency", 3 classes: "low", "high", "none"',
    ]);
    const named = await callHere("init", path, ...to, "--label", "Kind");
    assertEquals(named.lines.slice(1, 4), [
      '  text    "Message", median 19 characters, maximum 19',
      '  label   "Kind", 2 classes: "bill" 20, "fault" 20',
      "",
    ]);
    const plan = async (...settings: string[]) =>
      (await callHere(
        ...["plan", "own-data", "-S", `train=${path}`, ...out],
        ...settings.flatMap((it) => ["-S", it]),
      )).stderr;
    assertMatch(await plan(), /as by -S text=Message\n {2}run: /);
    assertMatch(
      await plan("text=Message"),
      /name the column of the labels, by -S label=COLUMN: "Kind", "Urgency" may be it$/m,
    );
  }));

Deno.test("init names the rows that the pipeline would refuse, and the faults with which it would run", () =>
  withFolder(async (folder) => {
    /** What is said of the labels, and of the problems. */
    const said = async (
      name: string,
      content: string | Uint8Array,
      ...options: string[]
    ) => {
      const data = join(folder, name);
      await Deno.writeFile(
        data,
        typeof content === "string"
          ? new TextEncoder().encode(content)
          : content,
      );
      const to = ["--to", join(folder, "a.yaml"), "--force"];
      const { code, lines, stderr } = await callHere(
        ...["init", data, ...to, ...options],
      );
      assertEquals(code, 0, stderr);
      return lines.slice(0, lines.indexOf(""))
        .filter((it) => /^ {2}(label|problem)/.test(it))
        .map((it) => it.replaceAll(data, name).replace(/^ +\w+ +/, ""));
    };
    const jsonLines = (rows: readonly object[]) =>
      rows.map((it) => `${JSON.stringify(it)}\n`).join("");
    const labelled = (labels: readonly unknown[]) =>
      jsonLines(labels.map((label, i) => ({ text: `text ${i}`, label })));
    const rows = [
      ...Array.from({ length: 30 }, (_, i) => `good ${i},pos`),
      ...Array.from({ length: 30 }, (_, i) => `bad ${i},neg`),
      ...["very good,Pos", "nice,pos ", "good 1,pos", "  ,neg", "good 2,neg"],
    ];
    assertEquals(await said("messy.csv", `text,label\n${rows.join("\n")}\n`), [
      '"label", 3 classes: "Pos" 1, "neg" 32, "pos" 32',
      'the class "Pos" (rows: 1, first messy.csv:62) may be "pos" (rows: 32) with a typing error: if so, correct it',
      'texts with several labels: 1, first "good 2": "pos" (messy.csv:4) and "neg" (messy.csv:66)',
      "1 of 65 rows that repeat an earlier one and count again (messy.csv:64): remove them, or leave them out by -S repeated=drop",
      "1 of 65 rows with an empty text (messy.csv:65)",
      'classes with fewer than 5 rows (1), too few to learn and to score: "Pos" (rows: 1, first messy.csv:62)',
    ]);
    const pair = { premise: "p", hypothesis: "h" };
    const pairs = [
      ...Array.from({ length: 40 }, (_, i) => ({ ...pair, score: i / 8 })),
      { ...pair, hypothesis: null, score: 1 },
      pair,
    ];
    const scores = await said("b.jsonl", jsonLines(pairs));
    assertEquals(scores.slice(0, 3), [
      '"score", scores from 0 to 4.875, mean 2.438',
      "rows without a label: 1, first b.jsonl:42: complete them, or leave them out by -S missing=skip",
      "b.jsonl:41: Expected text, found nothing",
    ]);
    const lists = await said(
      "some.jsonl",
      labelled(["neg", ["pos"], "pos", ["neg"]]),
    );
    assertEquals(lists.slice(0, 3), [
      '"label", 2 classes: "neg" 1, "pos" 1',
      "some.jsonl:2: Expected a label, found a list",
      "some.jsonl:4: Expected a label, found a list",
    ]);
    const many = Array.from({ length: 20 }, (_, i) => `class ${i % 11}`);
    const [, doubt, ...others] = await said("many.jsonl", labelled(many));
    assertMatch(
      doubt!,
      /^The labels of 20 rows have 11 different values, such as "class 0", too many to learn as classes: check the column of the label;/,
    );
    assertEquals(others, []);

    // Class ids are shown by the names that the file records, and -1 is no
    // class.
    const read = (name: string) =>
      Deno.readFile(join(FIXTURES, name, "train.parquet"));
    const intents = await read("tiny-intents");
    const named = await said("a.parquet", intents, "--label", "label");
    assertEquals(
      named[0],
      '"label", 25 classes, from "intent 0" 2 to "intent 0" 2',
    );
    assertMatch(named[1]!, /^texts with several labels: 1/);
    assertMatch(named[2]!, /^classes with fewer than 5 rows \(25\)/);
    const undecided = await said("b.parquet", await read("tiny-undecided"));
    assertMatch(undecided[0]!, /"label", 2 classes: "worse" \d, "better" \d$/);
    assertEquals(undecided.length, 2);
    const last = ', " card lost"';
    const at = Buffer.from(intents).indexOf(last);
    intents.set(new TextEncoder().encode(" ".repeat(last.length)), at);
    const unnamed = await said("c.parquet", intents, "--label", "label");
    assertMatch(
      unnamed[1]!,
      /^"c\.parquet", row 25: .*is not one of the classes/,
    );
  }));

Deno.test("init refuses a pipe and a device, for which it would wait", () =>
  withFolder(async (folder) => {
    const pipe = join(folder, "pipe.csv");
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    for (const path of [pipe, "/dev/zero"]) {
      const { code, stderr } = await callHere("init", path);
      assertEquals(code, 2, stderr);
      assertMatch(stderr, /is neither a file nor a folder; write its content/);
    }
  }));

const LISTS = ["joy|hope", "joy", "hope", "fear|joy", "fear|hope", "fear"];

/** Tables of texts with several labels, and the parameters that read them. */
const LABELLED: readonly (readonly [
  name: string,
  text: string,
  params: Readonly<Record<string, unknown>>,
  shown: RegExp,
])[] = [
  [
    "names.csv",
    `said,emotions\n${
      Array.from({ length: 60 }, (_, i) => `text ${i},${LISTS[i % 6]}`)
        .join("\n")
    }\n`,
    { text: "said", label: "emotions", separator: "|", labels: null },
    /^ {2}label {3}"emotions", labels separated by "\|"; 3 labels: "fear" 30, "hope" 30, "joy" 30; 1\.50 for a text, 0 texts have none$/m,
  ],
  [
    "lists.jsonl",
    Array.from(
      { length: 60 },
      (_, i) =>
        JSON.stringify({ said: `text ${i}`, label: LISTS[i % 6]!.split("|") }),
    ).join("\n"),
    { text: "said", label: "label", separator: null, labels: null },
    /^ {2}label {3}"label", 3 labels: "fear" 30, .*$/m,
  ],
  [
    "cells.tsv",
    `said\tlabel\n${
      Array.from(
        { length: 60 },
        (_, i) => `text ${i}\t${JSON.stringify(LISTS[i % 6]!.split("|"))}`,
      ).join("\n")
    }\n`,
    { text: "said", label: "label", separator: "auto", labels: null },
    /^ {2}label {3}"label", 3 labels: "fear" 30, .*$/m,
  ],
  [
    "marks.csv",
    `fear,said,hope,joy\n${
      Array.from({ length: 60 }, (_, i) => {
        const has = (name: string) => Number(LISTS[i % 6]!.includes(name));
        return [has("fear"), `text ${i}`, has("hope"), has("joy")].join();
      }).join("\n")
    }\n`,
    { text: "said", separator: null, labels: ["fear", "hope", "joy"] },
    /^ {2}labels {2}columns "fear", "hope", "joy", 3 labels: "fear" 30, .*$/m,
  ],
];

for (const [name, text, params, shown] of LABELLED) {
  Deno.test(`init recognizes several labels of a text and writes a pipeline that reads them, ${name}`, () =>
    withFolder(async (folder) => {
      const data = join(folder, name);
      const file = join(folder, "labels.yaml");
      await Deno.writeTextFile(data, text);
      const { code, stdout, stderr } = await callHere(
        ...["init", data, "--to", file],
      );
      assertEquals(code, 0, stderr);
      assertMatch(stdout, shown);
      const written = await Deno.readTextFile(file);
      const read = parse(written.replaceAll(/\$\{.*?\}/g, "x")).params;
      for (const [key, value] of Object.entries(params)) {
        assertEquals(read[key], value, key);
      }
      const ran = await callHere("pipeline", file, "data", ...out);
      assertEquals(ran.code, 0, ran.stdout + ran.stderr);
      const planned = await callHere(
        ...["plan", file, "-S", "model=./fixtures/tiny-roberta", ...out],
      );
      assertMatch(planned.stdout, /^unchanged +data/m);
    }));
}
