/**
 * Texts to write from files of users to scores and exports, by the tasks of a
 * pipeline.
 */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { readTokens, readTokensInfo } from "../../lib/artifacts/tokens.ts";
import { readAdapter } from "../../lib/peft/adapter.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import fetchData from "../../tasks/fetch-data.ts";
import tokenize from "../../tasks/tokenize.ts";
import { fixture } from "../engine/reference.ts";
import { E2E, e2eTokens } from "../tasks/e2e_tokens.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

const PYTHON = Deno.env.get("PEFT_PYTHON");
const SCRIPT = join(import.meta.dirname!, "language_losses.py");

Deno.test("fetch-data keeps the texts of a prompt together, and says how many there are", () =>
  withFolder(async (folder) => {
    const train = join(folder, "a.tsv");
    await Deno.writeTextFile(
      train,
      "prompt\tcompletion\nx\tone, 3,5\ny\ttwo\nx\tthree\n",
    );
    const { output, log } = await runTask(fetchData, folder, {
      files: { train },
      text: "prompt",
      completion: "completion",
    });
    const info = await readDatasetInfo(output);
    assertEquals(
      [info.problem, info.labels, info.metrics],
      ["language", null, ["loss", "perplexity"]],
    );
    assertEquals(await readExamples(output, "train"), [
      { index: 0, text: "x", completions: ["one, 3,5", "three"] },
      { index: 1, text: "y", completions: ["two"] },
    ]);
    assert(log.includes("train: 2 examples; 3 texts to write"));
    const held = await runTask(fetchData, folder, {
      files: { train },
      text: "prompt",
      completion: "completion",
      holdout: 0.5,
    });
    const { splits } = await readDatasetInfo(held.output);
    assertEquals(splits, { train: 1, validation: 1 });
  }));

Deno.test("fetch-data reads conversations, and names the line of one that ends otherwise", () =>
  withFolder(async (folder) => {
    const write = async (...rows: unknown[]) => {
      const path = join(folder, "a.jsonl");
      const lines = rows.map((messages) => JSON.stringify({ messages }));
      await Deno.writeTextFile(path, lines.join("\n") + "\n");
      return await runTask(fetchData, folder, {
        files: { train: path },
        messages: "messages",
      });
    };
    const user = { role: "user", content: "hi" };
    const bot = { role: "assistant", content: "ho" };
    const { output } = await write([user, bot], [user, bot, user, bot]);
    const info = await readDatasetInfo(output);
    assertEquals((await readExamples(output, "train"))[1], {
      index: 1,
      text: "hi",
      completions: ["ho"],
      messages: [user, bot, user],
    });
    // What is typed later is a message as well.
    assertEquals(problemOf(info).toExample({ text: "x" }, 0).messages, [
      { role: "user", content: "x" },
    ]);
    for (
      const [row, message] of [
        [
          [user, bot, user],
          'a.jsonl:2: Expected a list of two or more messages with "role" and "content", the last one that of the assistant, which is to be written; found 3 with the role "user" last',
        ],
        [[bot], 'found 1 with the role "assistant" last'],
        [[], "found none in a list"],
        ["hi", 'to be written; found none in "hi"'],
        [
          [user, { role: "assistant", content: 3 }],
          "a.jsonl:2: Expected a content of a message, found 3",
        ],
      ] as const
    ) {
      const error = await write([user, bot], row)
        .then(() => "", (error) => error.message);
      assertStringIncludes(error, message);
    }
    // The faults of all rows are said at once.
    const { message } = await assertRejects(
      () => write([bot], [user, bot], []),
      SyntaxError,
    );
    assertMatch(message, /^\S+a\.jsonl:1: Expected .*\n\S+a\.jsonl:3: .*$/);
  }));

Deno.test("fetch-data compares whole conversations where it looks for equal texts", () =>
  withFolder(async (folder) => {
    const conversation = (first: string) => [
      ...[{ role: "user", content: first }, {
        role: "assistant",
        content: "b",
      }],
      ...[{ role: "user", content: "ok" }, { role: "assistant", content: "c" }],
    ];
    const write = async (name: string, firsts: readonly string[]) => {
      const path = join(folder, name);
      const lines = firsts.map((it) =>
        JSON.stringify({ messages: conversation(it) })
      );
      await Deno.writeTextFile(path, lines.join("\n"));
      return path;
    };
    const train = await write("train.jsonl", ["a", "b", "c", "d"]);
    const validation = await write("validation.jsonl", ["d", "e"]);
    const messages = "messages";
    const both = { files: { train, validation }, messages };
    const { log } = await runTask(fetchData, folder, both);
    assertStringIncludes(
      log.join("\n"),
      "validation: 1 of 2 rows with the texts of a row of train (line 1)",
    );
    const held = await runTask(fetchData, folder, {
      files: { train },
      messages,
      holdout: 0.5,
    });
    const { splits } = await readDatasetInfo(held.output);
    assertEquals(splits, { train: 2, validation: 2 });
  }));

Deno.test("fetch-data names the column of the texts to write that a file lacks, and takes one kind of columns", () =>
  withFolder(async (folder) => {
    const check = async (params: object) => {
      try {
        const parsed = fetchData.params.parse({ files: E2E.files, ...params });
        await fetchData.check!(parsed);
        return await runTask(fetchData, folder, parsed).then(() => "");
      } catch (error) {
        return (error as Error).message;
      }
    };
    assertStringIncludes(
      await check({ text: "mr", completion: "text" }),
      "name the column of the texts to write, as by -S completion=ref",
    );
    assertStringIncludes(
      await check({ text: "mr", completion: "ref", messages: "mr" }),
      "Expected one of completion and messages",
    );
    const train = join(folder, "blank.csv");
    Deno.writeTextFileSync(train, "mr,ref\na,b\nc, \n");
    assertMatch(
      await check({ files: { train }, text: "mr", completion: "ref" }),
      /^train: 1 of 2 rows have no text to write: .*blank\.csv:3; complete/,
    );
  }));

Deno.test("tokenize says how many prompts and texts to write it has cut", () =>
  withFolder(async (folder) => {
    const model = fixture("tiny-llama");
    const { output: data } = await runTask(fetchData, folder, E2E);
    const { output, log } = await runTask(
      tokenize,
      folder,
      { maxLength: 40 },
      { data, model },
    );
    assertStringIncludes(log.join("\n"), "prompts have lost their beginning");
    const info = await readTokensInfo(output);
    const examples = info.splits.validation!;
    assertMatch(
      log[1]!,
      new RegExp(
        `; \\d+ of ${examples} sequences \\([\\d.]+ %\\) truncated to`,
      ),
    );
    const { ids, labels, words, offsets, index } = readTokens(
      output,
      info,
      "validation",
    );
    assert(index.length > new Set(index).size);
    // Each label is the token after the one where it is read.
    Array.from(index, (_, i) => {
      for (let k = words!.offsets[i]!; k < words!.offsets[i + 1]!; k++) {
        assertEquals(ids[offsets[i]! + words!.tokens[k]! + 1], labels![k]);
      }
    });
  }));

Deno.test("texts to write train an adapter whose ranks are scored by loss in one pass, and exported for PEFT", () =>
  withEngineStages(async ({ folder, run, attempt }) => {
    const model = fixture("tiny-llama");
    const { data, tokens } = await e2eTokens(folder, model);
    const inputs = { model, tokens };
    const settings = { precision: "f32", epochs: 2, learningRate: 1e-2 };
    const adapter = await run("train-dylora", { rank: 4, ...settings }, inputs);
    const { training, tensors } = await readAdapter(adapter);
    assertEquals(training.problem, "language");
    assertEquals(
      Object.keys(tensors).filter((it) => !it.includes("lora_")),
      [],
    );
    const scores = await run("evaluate-ranks", {
      ranks: [1, 4],
      precision: "f32",
    }, { ...inputs, adapter });
    const info = await readScores(scores);
    const { logits, labels, words } = readOutputs(scores);
    assertEquals(logits.length, 2 * labels.length);
    const problem = problemOf(info, words!.starts);
    assertEquals(info.examples, problem.units(labels));
    info.ranks.forEach(({ metrics: { loss, perplexity } }, i) => {
      const own = logits.subarray(i * labels.length, (i + 1) * labels.length);
      const mean = own.reduce((sum, it) => sum + it, 0) / own.length;
      assertAlmostEquals(loss!, mean, 1e-5);
      assertAlmostEquals(perplexity!, Math.exp(mean), 1e-2);
    });
    const peft = await run("export-adapter", { rank: 4 }, { model, adapter });
    const config = JSON.parse(
      await Deno.readTextFile(join(peft, "adapter_config.json")),
    );
    assertEquals([config.task_type, config.modules_to_save], ["CAUSAL_LM", []]);
    const card = await Deno.readTextFile(join(peft, "README.md"));
    assertStringIncludes(card, "AutoPeftModelForCausalLM");
    assert(!card.includes("classification head"));
    const imported = await run("import-adapter", { source: peft }, { model });
    const again = await readAdapter(imported);
    assertEquals(again.training.problem, "language");
    assertEquals(again.tensors, tensors);
    for (
      const [task, more, message] of [
        ["fit-heads", { adapter }, "no rank needs one of its own"],
        ["train-head", {}, "Nothing would be trained"],
        ["train-lora", {}, '"classWeights: balanced" requires labels that'],
        ["predict", { adapter }, "writes texts: use the task generate"],
      ] as const
    ) {
      const params = task === "train-head"
        ? settings
        : task === "train-lora"
        ? { classWeights: "balanced" }
        : {};
      const { text } = await attempt(task, params, { ...inputs, ...more });
      assertStringIncludes(text, message);
    }
    const encoder = fixture("tiny-roberta");
    const other = await runTask(tokenize, folder, {}, { data, model: encoder })
      .then(() => "", (error) => error.message);
    assertStringIncludes(other, "an encoder, which writes no text");
  }));

for (const name of ["tiny-llama", "tiny-qwen3"]) {
  Deno.test({
    name:
      `PEFT and transformers have the loss of evaluate-ranks of exported, merged and imported adapters, by every schedule, ${name}`,
    ignore: PYTHON === undefined,
    fn: () =>
      withEngineStages(async ({ folder, run }) => {
        const model = fixture(name);
        const { tokens } = await e2eTokens(folder, model);
        const inputs = { model, tokens };
        const settings = {
          ...{ precision: "f32", epochs: 3, learningRate: 1e-2 },
          ...{ rank: 4, targetModules: "all-linear" },
        };
        const sampler = { kind: "log" };
        const nested = { sortAt: 0.5, scope: "example", sampler };
        const lossAt = async (adapter: string, rank: number) => {
          const scores = await run("evaluate-ranks", {
            ranks: [rank],
            precision: "f32",
          }, { ...inputs, adapter });
          return (await readScores(scores)).ranks[0]!.metrics.loss!;
        };
        const lora = await run("train-lora", settings, inputs);
        for (
          const adapter of [
            await run("train-dylora", { ...settings, ...nested }, inputs),
            await run("train-matryoshka", settings, inputs),
            await run("reduce-adapter", { by: "svd" }, { adapter: lora }),
          ]
        ) {
          const cut = { adapter, model };
          const exported = await run("export-adapter", {
            rank: 2,
            baseModel: model,
          }, cut);
          const merged = await run("merge", { rank: 2 }, cut);
          const request = join(folder, "request.json");
          const written = join(folder, "written");
          await Deno.writeTextFile(
            request,
            JSON.stringify({
              ...{ model, adapter: exported, merged, written },
              tokens: join(tokens, "validation.safetensors"),
            }),
          );
          const { stdout, stderr } = await new Deno.Command(PYTHON!, {
            args: [SCRIPT, request],
          }).output();
          const text = new TextDecoder().decode(stdout);
          assert(text !== "", new TextDecoder().decode(stderr));
          const [ofExport, ofMerged, ofPeft] = JSON.parse(text);
          const own = await lossAt(adapter, 2);
          assertAlmostEquals(own, ofExport, 1e-4);
          assertAlmostEquals(own, ofMerged, 1e-4);
          const source = join(written);
          const imported = await run("import-adapter", { source }, { model });
          assertAlmostEquals(await lossAt(imported, 3), ofPeft, 1e-4);
        }
      }),
  });
}

Deno.test("all weights train to write texts, and evaluate-model has their loss", () =>
  withEngineStages(async ({ folder, run }) => {
    const model = fixture("tiny-qwen3");
    const { tokens } = await e2eTokens(folder, model);
    const trained = await run("train-full", {
      ...{ precision: "f32", epochs: 2, learningRate: 1e-3 },
      selectOn: "validation",
    }, { model, tokens });
    const record = JSON.parse(
      await Deno.readTextFile(join(trained, "training.json")),
    );
    const [first, second] = record.selection.epochs;
    assert(first.score < second.score && second.score < 0);
    assertEquals(record.selection.best, 2);
    const scores = await run("evaluate-model", { precision: "f32" }, {
      model: trained,
      tokens,
    });
    const { ranks } = await readScores(scores);
    assertAlmostEquals(ranks[0]!.metrics.loss!, -second.score, 1e-4);
  }));
