/**
 * Tagged words from a file of CoNLL to predictions, by the tasks of a pipeline.
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import type { Example } from "../../lib/data/example.ts";
import { readAdapter } from "../../lib/peft/adapter.ts";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import { readPredictions } from "../../lib/artifacts/predictions.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { readTokens, readTokensInfo } from "../../lib/artifacts/tokens.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import fetchData from "../../tasks/fetch-data.ts";
import tokenize from "../../tasks/tokenize.ts";
import { fixture } from "../engine/reference.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const FILES = {
  train: fixture("tiny-entities/train.conll"),
  validation: fixture("tiny-entities/validation.conll"),
};
const COLUMNS = { text: "tokens", label: "tags" };

Deno.test("fetch-data reads tagged words, says their scheme, and names the classes of all types", () =>
  withFolder(async (folder) => {
    const { output, log } = await runTask(fetchData, folder, {
      files: FILES,
      ...COLUMNS,
    });
    const info = await readDatasetInfo(output);
    assertEquals(info.problem, "tokens");
    assertEquals(info.labels, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]);
    assertEquals(info.metrics[0], "entity_f1");
    assert(log.includes("The tags are in BIO"));
    assertStringIncludes(log.join("\n"), '"PER" 289');
    const [first] = await readExamples(output, "train");
    assertEquals(first!.text, "i find the plot weak .");
    assertEquals(first!.words!.slice(0, 2), [[0, 1, 0], [2, 6, 0]]);
  }));

Deno.test("fetch-data refuses forbidden tags with their lines, and repairs them if it is asked to", () =>
  withFolder(async (folder) => {
    const train = join(folder, "a.conll");
    const text = "anna B-PER\nis O\n\nin O\nnew I-LOC\nyork I-LOC\n";
    await Deno.writeTextFile(train, text);
    const run = (more: object) =>
      runTask(fetchData, folder, { files: { train }, ...COLUMNS, ...more });
    const error = await run({}).then(() => "", ({ message }) => message);
    assertStringIncludes(error, 'a.conll:5: "I-LOC" follows "O"');
    const { output } = await run({ tags: "repair" });
    const info = await readDatasetInfo(output);
    assertEquals(info.faults, [
      '1 tags are forbidden in BIO, first line 5: "I-LOC" follows "O"',
    ]);
    const [, second] = await readExamples(output, "train");
    assertEquals(
      second!.words!.map(([, , label]) => info.labels![label!]),
      ["O", "B-LOC", "I-LOC"],
    );
  }));

Deno.test("fetch-data reads spans in the scheme of the training file, and records lines of mixed tags without a path", () =>
  withFolder(async (folder) => {
    const run = async (train: object, validation: object) => {
      const files = { train, validation };
      const paths = Object.entries(files).map(([split, row]) => {
        const path = join(folder, `${split}.jsonl`);
        Deno.writeTextFileSync(path, JSON.stringify(row));
        return [split, path];
      });
      const { output } = await runTask(fetchData, folder, {
        files: Object.fromEntries(paths),
        ...COLUMNS,
      });
      const info = await readDatasetInfo(output);
      const [{ words }] = await readExamples(output, "validation") as [
        Example,
      ];
      return { ...info, tags: words!.map(([, , it]) => info.labels![it!]) };
    };
    const spans = {
      tokens: "anna bell",
      tags: [{ start: 0, end: 9, label: "PER" }],
    };
    const whole = { tokens: ["a", "b", "c"], tags: ["B-PER", "E-PER", "O"] };
    assertEquals((await run(whole, spans)).tags, ["B-PER", "E-PER"]);
    const plain = { tokens: ["a", "b", "c"], tags: ["PER", "PER", "O"] };
    assertEquals((await run(plain, spans)).tags, ["PER", "PER"]);
    const mixed = { ...whole, tags: ["B-PER", "0", "O"] };
    const { faults } = await run(mixed, mixed);
    assertStringIncludes(
      faults![0]!,
      '"B-PER" (line 1, word 1) is as in BIO, but "0" (line 1, word 2) is not',
    );
  }));

Deno.test("tokenize says how many words have no token of their own", () =>
  withFolder(async (folder) => {
    const train = join(folder, "a.conll");
    const sentences = "\u200b B-PER\nanna I-PER\n\u0001 O\n\nrome B-LOC\n";
    await Deno.writeTextFile(train, sentences);
    const files = { train };
    const data = await runTask(fetchData, folder, { files, ...COLUMNS });
    const { log } = await runTask(tokenize, folder, {}, {
      data: data.output,
      model: fixture("tiny-bert"),
    });
    assertMatch(
      log[0]!,
      /; none truncated to \d+ tokens; 2 of 4 words have no token of their own/,
    );
  }));

Deno.test("tagged words train an adapter whose ranks are scored by entities in one pass, get heads, and predict spans", () =>
  withEngineStages(async ({ folder, run, attempt }) => {
    const model = fixture("tiny-roberta");
    const { output: data } = await runTask(fetchData, folder, {
      files: FILES,
      ...COLUMNS,
    });
    const { output: tokens } = await runTask(
      tokenize,
      folder,
      { maxLength: 24 },
      { data, model },
    );
    const tokensInfo = await readTokensInfo(tokens);
    const { words } = readTokens(tokens, tokensInfo, "validation");
    assertEquals(words!.tokens.length, 712);
    const inputs = { model, tokens };
    const adapter = await run("train-dylora", {
      rank: 4,
      epochs: 2,
      learningRate: 5e-3,
      precision: "f32",
    }, inputs);
    const { training, tensors } = await readAdapter(adapter);
    assertEquals(training.problem, "tokens");
    assertEquals(
      Object.keys(tensors).filter((it) => it.includes("classifier")),
      [
        "base_model.model.classifier.bias",
        "base_model.model.classifier.weight",
      ],
    );
    const heads = await run("fit-heads", { precision: "f32", examples: 1000 }, {
      ...inputs,
      adapter,
    });
    const { index } = readTokens(tokens, tokensInfo, "train");
    assertEquals(
      (await readAdapter(heads)).training.heads!.examples,
      new Set(index).size,
    );
    const toLabels = await run("fit-heads", {
      ...{ target: "labels", precision: "f32", ranks: [4] },
    }, { ...inputs, adapter });
    const [own] = (await readAdapter(toLabels)).training.heads!.ranks;
    assert(own!.rank === 4 && own!.heldOut!.fitted <= own!.heldOut!.given);
    const scores = await run("evaluate-ranks", {
      ranks: [1, 4],
      precision: "f32",
    }, { ...inputs, adapter: heads });
    const info = await readScores(scores);
    assertEquals(info.examples, 80);
    const { logits, labels, words: scored } = readOutputs(scores);
    assertEquals(logits.length, 2 * 712 * 5);
    const problem = problemOf(info, scored!.starts);
    const atOne = problem.predictions(logits.subarray(0, 712 * 5));
    for (const [name, value] of Object.entries(info.ranks[0]!.metrics)) {
      assertEquals(problem.scorer(name, labels)()(atOne), value);
    }
    const predicted = await readPredictions(
      await run("predict", {
        ...{ split: "validation", rank: 4, precision: "f32" },
      }, { ...inputs, adapter: heads }),
    );
    assertEquals(
      predicted.predictions,
      problem.predictions(logits.subarray(712 * 5)),
    );
    assertEquals(predicted.wordNumbers, scored!.numbers);
    assertEquals([predicted.examples, new Set(predicted.index).size], [80, 80]);
    const peft = await run("export-adapter", { rank: 4 }, {
      model,
      adapter: heads,
    });
    const config = await Deno.readTextFile(join(peft, "adapter_config.json"));
    assertEquals(JSON.parse(config).task_type, "TOKEN_CLS");
    const card = await Deno.readTextFile(join(peft, "README.md"));
    assertStringIncludes(card, "ModelForTokenClassification");
    assertStringIncludes(card, "JavaScript");
    const classified = (adapter: string) =>
      run("classify", {
        texts: [{ text: "\u{1f600} anna saw the film in rome ." }],
        rank: 4,
        precision: "f32",
      }, { model, adapter });
    const pairs = { texts: [{ text: "anna", pair: "rome" }], rank: 4 };
    const paired = await attempt("classify", pairs, { model, adapter });
    assertStringIncludes(paired.text, "The texts are pairs, and the adapter");
    const done: number[][] = [];
    const smaller = await attempt("export-onnx", { dtype: "q8", rank: 4 }, {
      ...inputs,
      adapter: heads,
    }, { progress: (...it) => done.push(it.slice(0, 2) as number[]) });
    const sequences = 2 * tokensInfo.splits.validation!;
    assertEquals(done.at(-1), [sequences, sequences]);
    assertMatch(
      smaller.text,
      /On the 712 words of the split validation, in percent: entity F1 /,
    );
    const found = await classified(heads);
    const [ofHeads, ofPeft] = await Promise.all(
      [found, await classified(peft)].map((folder) =>
        Deno.readTextFile(join(folder, "classification.json"))
      ),
    );
    assertEquals(
      JSON.parse(ofPeft!).texts[0].entities.length,
      JSON.parse(ofHeads!).texts[0].entities.length,
    );
    const { texts: [text] } = JSON.parse(
      await Deno.readTextFile(join(found, "classification.json")),
    );
    for (const { start, end, text: part } of text.entities) {
      assertEquals([...text.text].slice(start, end).join(""), part);
    }
  }));

Deno.test("fit-heads reads 60000 tagged words at most, since it holds their features", () =>
  withEngineStages(async ({ folder, run }) => {
    const model = fixture("tiny-roberta");
    const train = join(folder, "long.conll");
    const text = `${"anna B-PER\n"}${"is O\n".repeat(30)}\n`;
    await Deno.writeTextFile(train, text.repeat(2_000));
    const data = await run("fetch-data", { files: { train }, ...COLUMNS });
    const tokens = await run("tokenize", {}, { data, model });
    const inputs = { model, tokens };
    const settings = { rank: 2, epochs: 1, batchSize: 100, precision: "f32" };
    const adapter = await run("train-lora", settings, inputs);
    const heads = await run("fit-heads", {
      ...{ target: "labels", examples: 2_000, precision: "f32" },
    }, { ...inputs, adapter });
    const { training } = await readAdapter(heads);
    assertEquals(training.heads!.examples, Math.floor(60_000 / 31));
  }));
