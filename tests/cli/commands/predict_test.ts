import {
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import exportAdapter from "../../../tasks/export-adapter.ts";
import { textLines } from "../../../lib/cli/commands/predict.ts";
import { UsageError } from "../../../lib/cli/arguments/arguments.ts";
import {
  readTexts,
  writePredicted,
} from "../../../lib/cli/commands/predict_table.ts";
import { openReference } from "../../engine/reference.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../../tasks/reference_adapter.ts";
import { randomAdapterFolder } from "../../tasks/random_adapter.ts";
import { runTask, withFolder } from "../../tasks/run_task.ts";
import { callHere, callMainWith, CliProject, outWithCode } from "../project.ts";

const model = join(import.meta.dirname!, "../../../fixtures/tiny-roberta");

/** Texts of fixtures/references.py, by their row there. */
const TEXTS = new Map([
  [0, ["the film is very good .", "i find the film good ."]],
  [1, ["it is not a bad story ."]],
  [2, ["great !"]],
  [3, [
    'she said " the cast and the plot , never dull .',
    "perhaps the music is so cold .",
  ]],
]);

function predict(
  args: readonly string[],
  input?: string | Uint8Array<ArrayBuffer>,
) {
  return input === undefined
    ? callHere("predict", ...args)
    : callMainWith({ input }, "predict", ...args);
}

/**
 * Probabilities of both classes by row, from the logits that PEFT computed at a
 * rank.
 */
function expectedAt(rank: number): [number, number][] {
  using figures = openReference("roberta").figures;
  const logits = figures.floats(`lora.logits.rank${rank}`);
  return Array.from({ length: 4 }, (_, row) => {
    const second = 1 /
      (1 + Math.exp(logits[2 * row]! - logits[2 * row + 1]!));
    return [1 - second, second];
  });
}

Deno.test("predict computes the probabilities of PEFT at any rank, of a trained and of an exported adapter, for texts and pairs", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      labels: ["negative", "positive"],
    });
    const { output: exported } = await runTask(exportAdapter, folder, {}, {
      adapter,
    });
    const named = ["--model", model, "--json"];
    const single = [1, 2].map((row) => TEXTS.get(row)![0]!);
    const pairs = [0, 3].map((row) => TEXTS.get(row)!.join("\t"));
    const runs = [
      {
        rank: 2,
        rows: [1, 2],
        args: ["--adapter", adapter, ...single, "--rank", "2"],
        input: undefined,
      },
      {
        rank: 4,
        rows: [0, 3],
        args: ["--adapter", exported, "--pair", "\\t"],
        input: `${pairs[0]}\n\n${pairs[1]}\n`,
      },
    ];
    for (const { rank, rows, args, input } of runs) {
      const { code, stderr, json } = await predict([...named, ...args], input);
      assertEquals(code, 0, stderr);
      const expected = expectedAt(rank);
      const lines = json();
      assertEquals(lines.length, rows.length);
      rows.forEach((row, i) => {
        const { label, probabilities, text, pair } = lines[i];
        assertEquals(
          [text, pair].filter((part) => part !== undefined),
          TEXTS.get(row),
        );
        const [negative, positive] = expected[row]!;
        assertAlmostEquals(probabilities.negative, negative, 1e-4);
        assertAlmostEquals(probabilities.positive, positive, 1e-4);
        assertEquals(label, positive > negative ? "positive" : "negative");
      });
    }
  }));

Deno.test("predict uses the adapter and the model of a stage that has run", () =>
  withFolder(async (folder) => {
    const source = await referenceAdapter(folder, REFERENCE_TRAINING);
    const pipeline = join(folder, "own.yaml");
    await Deno.writeTextFile(
      pipeline,
      `name: own
stages:
  model:
    task: fetch-model
    with:
      source: ${JSON.stringify(model)}
  adapter:
    task: import-adapter
    with:
      source: ${JSON.stringify(source)}
      labels: [bad, good]
    inputs: { model: model }
`,
    );
    const args = [pipeline, "adapter", "--out", await outWithCode()];
    const before = await predict([...args, "great !"]);
    assertEquals(before.code, 1);
    assertMatch(
      before.stderr,
      /Stage "adapter" has no result yet:\n {2}run: deno task pipeline .*own\.yaml'? adapter --out .+/,
    );
    const run = await callHere("pipeline", pipeline, ...args.slice(2));
    assertEquals(run.code, 0, run.stderr);
    const { code, stdout, stderr } = await predict([...args, "great !"]);
    assertEquals(code, 0, stderr);
    const [bad, good] = expectedAt(4)[2]!;
    const rows = good > bad
      ? [["good", good], ["bad", bad]] as const
      : [["bad", bad], ["good", good]] as const;
    const [first, second] = rows.map(([name, value]) =>
      `  ${name.padEnd(4)}  ${value.toFixed(4)}\n`
    );
    assertEquals(
      stdout,
      `imported, rank 4\n\ngreat !\n${first}${second}`,
    );
    const beyond = await predict([...args, "--rank", "5", "great !"]);
    assertEquals(beyond.code, 1);
    assertMatch(
      beyond.stderr,
      /^Rank 5 exceeds the adapter's rank 4; choose rank 4\n$/,
    );
  }));

Deno.test("predict says what a folder lacks that is not a model", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const bare = join(folder, "bare");
    Deno.mkdirSync(bare);
    for (const file of ["config.json", "model.safetensors"]) {
      Deno.copyFileSync(join(model, file), join(bare, file));
    }
    const named = ["--adapter", adapter, "--model", bare];
    const { code, stderr } = await callHere("predict", ...named, "great !");
    assertEquals(code, 1, stderr);
    assertMatch(
      stderr,
      /^".*\/bare" has no "tokenizer\.json"\nUse a folder with/,
    );
  }));

Deno.test("predict wants texts in the form of the data that the adapter was trained on", async () => {
  using test = new CliProject(`name: test
params: { columns: [text] }
stages:
  model: { task: model }
  data: { task: data, with: { columns: "\${params.columns}" } }
  adapter: { task: adapt, inputs: { model: model, data: data } }
`);
  const task = (kind: string, inputs: string, columns = "") => `
import * as z from "zod";
export default {
  description: "Writes an artifact",
  params: z.strictObject({ ${columns && "columns: z.array(z.string())"} }),
  inputs: { ${inputs} },
  output: { kind: "${kind}", files: ["${kind}.json"] },
  run: ({ params, output }) =>
    Deno.writeTextFileSync(output + "/${kind}.json", JSON.stringify(params)),
};
`;
  test.write("tasks/model.ts", task("model", ""));
  test.write("tasks/data.ts", task("dataset", "", "columns"));
  const inputs = 'model: { kind: "model" }, data: { kind: "dataset" }';
  test.write("tasks/adapt.ts", task("adapter", inputs));
  const refusal = async (columns: string, ...texts: string[]) => {
    const set = ["-S", `columns=[${columns}]`];
    await test.call("pipeline", ...set);
    const { code, stderr } = await test.call(
      "predict",
      "adapter",
      ...texts,
      ...set,
    );
    assertEquals(code, 2, stderr);
    return stderr;
  };
  assertMatch(
    await refusal("a, b", "one text"),
    /^"adapter" classifies pairs of texts: separate them, as in --pair '\|' "a text\|its pair"$/m,
  );
  assertMatch(
    await refusal("a", "--pair", "|", "a text|its pair"),
    /^"adapter" classifies single texts: leave out "--pair"$/m,
  );
});

Deno.test("predict refuses invalid arguments with exit code 2", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, REFERENCE_TRAINING);
    const named = ["--adapter", adapter, "--model", model];
    const damaged = join(folder, "damaged");
    Deno.mkdirSync(damaged);
    Deno.writeTextFileSync(join(damaged, "adapter_config.json"), "[]");
    const talks = join(folder, "talks.jsonl");
    const messages = [{ role: "user", content: "a" }];
    Deno.writeTextFileSync(talks, `${JSON.stringify({ messages })}\n`);
    const writer = join(folder, "writer");
    Deno.mkdirSync(writer);
    const config = JSON.stringify({ task_type: "CAUSAL_LM" });
    Deno.writeTextFileSync(join(writer, "adapter_config.json"), config);
    const writing = ["--adapter", writer, "--model", model];
    const cases: [string[], RegExp][] = [
      [[], /give PIPELINE, or --adapter$/m],
      [["--in", "a.csv", "smoke"], /^Option "--in" requires "--to"/m],
      [["smoke", "evaluate-dylora", "a"], /no stage that makes an adapter/],
      [["smoke", "train-lora", "a"], /more than one adapter: "train-lora@sst2/],
      [["smoke", "train-dylra", "a"], /train-dylora/],
      [
        ["--adapter", adapter, "a"],
        /Option "--adapter" requires "--model": the adapter names "org\/tiny-roberta", which is not a folder, as its base model/,
      ],
      [
        ["--adapter", damaged, "a"],
        /^".*\/damaged\/adapter_config\.json" has invalid content:\n.* expected object, received array\nSave the adapter again$/m,
      ],
      [["--model", model, "a"], /Option "--model" requires "--adapter"/],
      [
        ["--adapter", adapter, "--model", "./none", "a"],
        /Folder ".\/none" of option "--model" does not exist/,
      ],
      [
        ["--adapter", join(adapter, "training.json"), "--model", model, "a"],
        /training\.json" of option "--adapter" is not a folder/,
      ],
      [
        [...named, "-S", "seeds=[0]", "a"],
        /^Option "--set" does not apply to "--adapter"$/m,
      ],
      [
        [...named, "--executor", "slurm", "a"],
        /^Option "--executor" does not apply to "--adapter"$/m,
      ],
      [[...named, "--rank", "0", "a"], /Invalid value "0" for option "--rank"/],
      [[...named, "--pair", "|", "a"], /"a" is not a pair: .* "\|"/],
      [
        [...named, "--beams", "2", "a"],
        /^Option "--beams" does not apply to classifiers$/m,
      ],
      [
        [...named, "--threshold", "1", "a"],
        /^Invalid value "1" for option "--threshold": expected a number between 0 and 1$/m,
      ],
      [
        [...named, "--threshold", "0.5", "a"],
        /^Option "--threshold" applies to texts that may have several labels, not to this adapter$/m,
      ],
      [
        [...writing, "--beams", "65", "a"],
        /^Invalid value "65" for option "--beams": expected an integer of 1 to 64$/m,
      ],
      [
        [
          ...[...writing, "--in", talks, "--text", "messages"],
          ...["--out", join(folder, "out.csv")],
        ],
        /^".*talks\.jsonl" has no texts in "messages" but lists of objects.* by --text$/m,
      ],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await callHere("predict", ...args);
      assertEquals(code, 2, `${args}: ${stderr}`);
      assertMatch(stderr, message);
    }
    const empty = await predict(named, "");
    assertEquals(empty.code, 2, empty.stderr);
    assertMatch(empty.stderr, /No texts: give them as arguments/);
    const latin1 = Uint8Array.from("caf\xe9\n", (it) => it.charCodeAt(0));
    const { code, stderr } = await predict(named, latin1);
    assertEquals(code, 2, stderr);
    assertMatch(
      stderr,
      /^Standard input is not valid UTF-8; convert it, for example with "iconv"$/m,
    );
  }));

Deno.test("predict --in writes a table with the predictions of PEFT, beside it and then in its place", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      labels: ["negative", "positive"],
    });
    const path = (name: string) => join(folder, name);
    const named = ["--adapter", adapter, "--model", model, "--rank", "2"];
    const onTable = (name: string, out: string, ...args: string[]) =>
      predict([
        ...named,
        ...["--in", path(name), "--out", path(out), "--text", "a", ...args],
      ]);
    const expected = expectedAt(2);
    const [single, pairs] = [[1, 2], [0, 3]].map((rows) =>
      rows.map((row) => ({ row, texts: TEXTS.get(row)!, of: expected[row]! }))
    );
    const isBetween = (found: number, [negative, positive]: [number, number]) =>
      assertAlmostEquals(found, Math.max(negative, positive), 1e-4);

    const cell = (text: string) => `"${text.replaceAll('"', '""')}"`;
    Deno.writeTextFileSync(
      path("pairs.csv"),
      `id,a,b\n${
        pairs!.map(({ row, texts }) => [row, ...texts.map(cell)].join())
          .join("\n")
      }\n`,
    );
    const first = await onTable("pairs.csv", "out.jsonl", "--pair", "b");
    assertEquals(first.code, 0, first.stderr);
    assertMatch(first.stdout, /^2 rows at rank 2: .+out\.jsonl\n$/);
    const lines = Deno.readTextFileSync(path("out.jsonl")).trim().split("\n")
      .map((line) => JSON.parse(line));
    pairs!.forEach(({ row, texts: [a, b], of }, i) => {
      const { predicted_label: label, probability, ...columns } = lines[i];
      assertEquals(columns, { id: String(row), a, b });
      assertEquals(label, of[1] > of[0] ? "positive" : "negative");
      isBetween(probability, of);
    });

    Deno.writeTextFileSync(
      path("single.jsonl"),
      single!.map(({ row, texts: [a] }) => JSON.stringify({ n: row, a }))
        .join("\n"),
    );
    const second = await predict([
      ...named,
      ...["--in", path("single.jsonl"), "--to", path("out.csv")],
      ...["--text", "a", "--json"],
    ]);
    assertEquals(second.code, 0, second.stderr);
    assertEquals(second.json(), [{
      type: "predicted",
      path: path("out.csv"),
      rows: 2,
      rank: 2,
    }]);
    const [head, ...rows] = Deno.readTextFileSync(path("out.csv")).trim()
      .split("\n");
    assertEquals(head, "n,a,predicted_label,probability");
    rows.forEach((line, i) => {
      const [n, a, , probability] = line.split(",");
      assertEquals([n, a], [`${single![i]!.row}`, single![i]!.texts[0]]);
      isBetween(Number(probability), single![i]!.of);
    });

    Deno.writeTextFileSync(path("bad.jsonl"), '{"a":"x"}\n{"b":"y"}\n');
    const bad = await onTable("bad.jsonl", "out.csv");
    assertEquals(bad.code, 1);
    assertMatch(bad.stderr, /bad\.jsonl:2: Expected text, found nothing\n$/);
    // A failure leaves what was there, and nothing else.
    assertMatch(Deno.readTextFileSync(path("out.csv")), /^n,a,predicted_label/);
    Deno.writeTextFileSync(path("tab.csv"), 'a,b\n"one\ttwo",x\n');
    Deno.writeTextFileSync(path("twice.csv"), "a,probability\nx,1\n");
    for (
      const [name, out, message] of [
        ["tab.csv", "out.tsv", /cannot have a tab .* "one\\ttwo"/],
        ["tab.csv", "out.xlsx", /must end in \.csv, \.tsv, \.jsonl/],
        ["twice.csv", "out.csv", /has a column "probability".*rename it/],
      ] as const
    ) {
      const { code, stderr } = await onTable(name, out);
      assertEquals(code, 2);
      assertMatch(stderr, message);
    }
    const files = [...Deno.readDirSync(folder)].map(({ name }) => name)
      .filter((name) => name.startsWith("out"));
    assertEquals(files.sort(), ["out.csv", "out.jsonl"]);
  }));

Deno.test("readTexts() refuses a .tsv for texts to write, which may have line breaks, before they are written", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a.csv");
    Deno.writeTextFileSync(path, "a,b\nx,y\n");
    const read = (out: string, isWritten: boolean) =>
      readTexts(path, join(folder, out), ["a"], {
        encoding: undefined,
        labels: { column: undefined, isRequired: false },
        isWritten,
      });
    await assertRejects(
      () => read("out.tsv", true),
      UsageError,
      'cannot have a tab or a line break in a text, as in "\\n": name a .csv or a .jsonl',
    );
    for (
      const [out, isWritten] of [["out.tsv", false], ["out.csv", true]] as const
    ) {
      const { texts } = await read(out, isWritten);
      assertEquals(texts, [{ index: 0, text: "x" }]);
    }
  }));

Deno.test("writePredicted() writes the scores of a regression", () =>
  withFolder((folder) => {
    const out = join(folder, "new/scores.tsv");
    const form = { delimiter: "\t", encoding: "utf-8", hasMark: false };
    const table = { columns: ["a"], rows: [["x"], [null]], form };
    writePredicted(
      out,
      table,
      {
        problem: "regression",
        texts: [0.5, -1].map((score) => ({
          text: "x",
          label: null,
          probabilities: null,
          score,
        })),
      },
      4,
    );
    assertEquals(
      Deno.readTextFileSync(out),
      "a\tpredicted_score\nx\t0.5\n\t-1\n",
    );
    return Promise.resolve();
  }));

Deno.test("predict --in keeps the delimiter, the encoding and the mark of a .csv, rounds probabilities, and scores rows that have labels", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      labels: ["schön", "übel"],
    });
    const path = (name: string) => join(folder, name);
    const table = (name: string, bytes: Uint8Array) =>
      Deno.writeFileSync(path(name), bytes);
    const text = 'n;a;art\n1;it is not; "a" story;schön\n'
      .replace("it is", '"it is').replace('"a" story', '""a"" story"') +
      "2;great !;übel\n3;ab – c;andere\n4;x;\n";
    const latin1 = Uint8Array.from(
      text.replace("–", "\x96"),
      (it) => it.charCodeAt(0),
    );
    table("latin1.csv", latin1);
    table("marked.csv", new TextEncoder().encode(`\ufeff${text}`));
    const called = async (name: string, ...args: string[]) => {
      const out = path(`out-${name}`);
      const { code, stdout, stderr } = await predict([
        ...["--adapter", adapter, "--model", model, "--rank", "2"],
        ...["--in", path(name), "--to", out, "--text", "a"],
        ...args,
      ]);
      assertEquals(code, 0, stderr);
      return { stdout, bytes: Deno.readFileSync(out) };
    };
    const named = ["--label", "art"];
    const first = await called("latin1.csv", "--encoding", "latin1", ...named);
    const decoded = new TextDecoder("latin1").decode(first.bytes);
    const marked = await called("marked.csv", ...named);
    assertEquals([...marked.bytes.subarray(0, 3)], [0xef, 0xbb, 0xbf]);
    assertEquals(new TextDecoder().decode(marked.bytes), decoded);
    const [head, row, , third] = decoded.split("\n");
    assertEquals(head, "n;a;art;predicted_label;probability");
    assertMatch(
      row!,
      /^1;"it is not; ""a"" story";schön;(schön|übel);0\.\d{1,4}$/,
    );
    assertMatch(third!, /^3;ab – c;andere;/);
    assertMatch(
      first.stdout,
      /^2 of 4 rows have labels: accuracy [\d.]+ %.*; not scored: 1 row with a label that the adapter does not have$/m,
    );
    const exact = await called("marked.csv", "--digits", "12");
    assertMatch(new TextDecoder().decode(exact.bytes), /;0\.\d{8,12}\n/);
    const { code, stderr } = await predict([
      ...["--adapter", adapter, "--model", model, "--in", path("marked.csv")],
      ...["--to", path("x.csv"), "--text", "a", "--label", "none"],
    ]);
    assertEquals(code, 2);
    assertMatch(stderr, /has no column "none"; it has "n", "a", "art"/);
  }));

Deno.test("textLines() indents all lines of a written text", () => {
  const none = { label: null, probabilities: null, score: null };
  const lines = textLines({
    ...{ task: "own", problem: "language", method: "lora", rank: 2 },
    ...{ recommended: false, precision: "f32" },
    texts: [{ text: "a", ...none, written: "one\ntwo" }],
  });
  assertEquals(lines.join("\n"), "own, rank 2\n\na\n  one\n  two");
});

Deno.test("predict --in finds entities among the words of CoNLL files and of JSON Lines", () =>
  withFolder(async (folder) => {
    const adapter = await randomAdapterFolder(folder, model, {
      problem: "tokens",
      labels: ["O", "B-x", "B-y"],
    });
    const sentences = [["@anna", "is", "n't", "bad."], ["ok"]];
    const path = (name: string) => join(folder, name);
    Deno.writeTextFileSync(
      path("a.conll"),
      sentences.map((it) => it.map((word) => `${word}\tO\n`).join(""))
        .join("\n"),
    );
    Deno.writeTextFileSync(
      path("a.jsonl"),
      sentences.map((tokens) => `${JSON.stringify({ tokens })}\n`).join(""),
    );
    const found = [];
    for (const name of ["a.conll", "a.jsonl"]) {
      const isTagged = name === "a.conll";
      const { code, stdout, stderr } = await predict([
        ...["--adapter", adapter, "--model", model, "--text", "tokens"],
        ...["--in", path(name), "--out", path("out.jsonl")],
        ...isTagged ? ["--label", "tags"] : [],
      ]);
      assertEquals(code, 0, stderr);
      // All tags are O, and some words have others.
      const scores = "2 of 2 rows have labels: entity F1 0.0 %,";
      assertEquals(stdout.includes(scores), isTagged, stdout);
      const rows = Deno.readTextFileSync(path("out.jsonl")).trim().split("\n")
        .map((it) => JSON.parse(it));
      assertEquals(rows.map(({ tokens }) => tokens), sentences);
      found.push(rows.map((it) => it.predicted_entities));
    }
    assertEquals(found[0], found[1]);
    // Its tags have no I-, so each entity is a word.
    const words = found[0]!.map((entities) =>
      entities.map(({ text }: { text: string }) => text)
    );
    words.forEach((own, i) =>
      assertEquals(own.filter((it: string) => !sentences[i]!.includes(it)), [])
    );
    assertEquals(words.flat().length > 0, true);

    const classes = await referenceAdapter(folder, REFERENCE_TRAINING);
    const refused = await predict([
      ...["--adapter", classes, "--model", model, "--text", "tokens"],
      ...["--in", path("a.conll"), "--out", path("other.jsonl")],
    ]);
    assertEquals(refused.code, 1);
    assertMatch(
      refused.stderr,
      /The texts are lists of words, and the adapter is for "sst2" with the classes LABEL_0, LABEL_1: give it whole texts/,
    );
  }));

Deno.test("predict gives the labels of texts from a threshold on, as text, JSON and a table, and scores rows by lists, names with a separator and columns of 0 and 1", () =>
  withFolder(async (folder) => {
    const labels = ["joy", "fear", "hope"];
    const adapter = await randomAdapterFolder(folder, model, {
      problem: "multi-label",
      labels,
    });
    const named = ["--adapter", adapter, "--model", model];
    const texts = ["great !", "the film is not so bad ."];
    const { json, code, stderr } = await predict([
      ...named,
      "--json",
      ...texts,
    ]);
    assertEquals(code, 0, stderr);
    const predictions = json();
    for (const { labels: own, probabilities, threshold } of predictions) {
      assertEquals(threshold, 0.5);
      assertEquals(own, labels.filter((name) => probabilities[name] >= 0.5));
    }
    // Between two probabilities, so that some labels are predicted and some not.
    const [lowest, middle] = Object.values<number>(predictions[0].probabilities)
      .sort((a, b) => a - b);
    const threshold = String((lowest! + middle!) / 2);
    const shown = await predict([
      ...named,
      "--threshold",
      threshold,
      texts[0]!,
    ]);
    assertEquals(shown.code, 0, shown.stderr);
    const [head, , text, ...lines] = shown.stdout.trimEnd().split("\n");
    assertEquals(head, `sst2, rank 4, threshold ${threshold}`);
    assertEquals(text, texts[0]);
    assertEquals(lines.length, 3);
    lines.forEach((line, i) =>
      assertMatch(
        line,
        i < 2 ? /^ {2}\w+ +0\.\d{4} {2}predicted$/ : /^ {2}\w+ +0\.\d{4}$/,
      )
    );

    const path = (name: string) => join(folder, name);
    const onTable = async (name: string, table: string, ...args: string[]) => {
      Deno.writeTextFileSync(path(name), table);
      const called = await predict([
        ...[...named, "--in", path(name), "--to", path(`out-${name}`)],
        ...["--threshold", threshold, ...args],
      ]);
      assertEquals(called.code, 0, called.stderr);
      const [, scores] = called.stdout.trimEnd().split("\n");
      return scores;
    };
    const rows = ["joy|hope", "", "joy|anger", "fear"];
    const scores = await onTable(
      "names.csv",
      `text,label\n${
        rows.map((it, i) => `${texts[i % 2]},${it}`).join("\n")
      }\n`,
      ...["--label", "label"],
    );
    assertMatch(
      scores!,
      /^2 of 4 rows have labels: micro F1 [\d.]+ %, .*; not scored: 1 row with a label that the adapter does not have$/,
    );
    const [header, first] = Deno.readTextFileSync(path("out-names.csv"))
      .split("\n");
    assertEquals(header, "text,label,predicted_labels,probabilities");
    assertMatch(
      first!,
      /^great !,joy\|hope,"\[""\w+"",""\w+""\]","\{""joy"":0\.\d+,""fear"":0\.\d+,""hope"":0\.\d+\}"$/,
    );
    const asLists = await onTable(
      "lists.jsonl",
      `${JSON.stringify({ text: texts[0], label: ["hope", "joy"] })}\n` +
        JSON.stringify({ text: texts[1], label: ["fear"] }),
      ...["--label", "label"],
    );
    const scored = scores!.replace(/^2 of 4/, "2 of 2").replace(/;.*/, "");
    assertEquals(asLists, scored);
    const row = JSON.parse(
      Deno.readTextFileSync(path("out-lists.jsonl")).split("\n")[0]!,
    );
    assertEquals(Object.keys(row.probabilities), labels);
    assertEquals(row.predicted_labels.length, 2);

    Deno.writeTextFileSync(
      path("bad.csv"),
      "text,label\nx,joy|hope\ny,joy||hope\n",
    );
    const bad = await predict([
      ...[...named, "--in", path("bad.csv"), "--to", path("out-bad.csv")],
      ...["--label", "label"],
    ]);
    assertEquals(bad.code, 1);
    assertMatch(
      bad.stderr,
      /bad\.csv:3: Expected the name of a label, found nothing in "joy\|\|hope"/,
    );
  }));
