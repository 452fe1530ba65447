/** Texts that adapters write, by the tasks of a pipeline. */
import {
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { readScores } from "../../lib/artifacts/scores.ts";
import { textScorer, textStatistics } from "../../lib/problems/text_metrics.ts";
import fetchData from "../../tasks/fetch-data.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import reportTask from "../../tasks/report.ts";
import tokenize from "../../tasks/tokenize.ts";
import { fixture } from "../engine/reference.ts";
import { e2eTokens } from "../tasks/e2e_tokens.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { runTask } from "../tasks/run_task.ts";

const [{ template }] = JSON.parse(
  Deno.readTextFileSync(fixture("references/chat_templates.json")),
);

Deno.test("generate writes texts at several ranks, scores them, a report has intervals of every metric, and classify writes the same", () =>
  withEngineStages(async ({ folder, run, attempt }) => {
    const model = fixture("tiny-llama");
    const { data, tokens } = await e2eTokens(folder, model);
    const settings = { precision: "f32", epochs: 1, learningRate: 1e-2 };
    const adapter = await run(
      "train-dylora",
      { rank: 4, ...settings },
      { model, tokens },
    );
    const params = { precision: "f32", beams: 2, maxTokens: 8, batchSize: 3 };
    const scores = await run("generate", params, { model, adapter, data });
    const info = await readScores(scores);
    assertEquals(info.ranks.map(({ rank }) => rank), [1, 2, 4]);
    const lines = (await Deno.readTextFile(join(scores, "texts.jsonl")))
      .trimEnd().split("\n").map((it) => JSON.parse(it));
    assertEquals(lines.length, info.examples);
    const units = lines.map(({ written, references }) => ({
      text: written[4],
      references,
    }));
    const statistics = textStatistics(units);
    for (const [name, score] of Object.entries(info.ranks[2]!.metrics)) {
      const expected = textScorer(name, units.length)()(statistics);
      assertAlmostEquals(score, expected, 1e-12, name);
    }
    const artifact = (path: string, more = {}) => [{
      ...{ stage: "x", matrix: {}, path, seconds: 1 },
      metrics: { training_seconds: 1, step_seconds: 1, ...more },
    }];
    const reportOf = (
      scores: ReturnType<typeof artifact>,
      data: ReturnType<typeof artifact>,
    ) =>
      runTask(reportTask, folder, { replicates: 100 }, {}, {
        inputs: {
          ...{ scores, data, adapters: artifact(adapter), classifiers: [] },
          tokenized: artifact(tokens, {
            truncated_train: 3,
            tokens_per_word: 2.17,
          }),
        },
      });
    const { output: report } = await reportOf(artifact(scores), artifact(data));
    const markdown = await Deno.readTextFile(join(report, "report.md"));
    for (const metric of ["BLEU", "ROUGE-L", "NIST"]) {
      const heading = new RegExp(`\\*\\*${metric}(?:, %)?\\*\\*, one seed:`);
      const [, table] = markdown.split(heading);
      assertMatch(table!, /^[^*]*\| 4 \| [\d.]+ \[[\d.]+, [\d.]+\] \|/);
    }
    assertStringIncludes(
      markdown.replaceAll(/\s+/g, " "),
      "longer than 64 tokens with their prompts: these have lost their beginnings, then the texts their ends: a larger maxLength, up to the model's positions, reads more",
    );
    assertStringIncludes(
      markdown.replaceAll(/\s+/g, " "),
      "a word has 2.2 tokens (about 1.1 in a language that a tokenizer was made for): the model may not know the language of these texts, and one that does may score higher",
    );
    assertStringIncludes(
      markdown,
      "counted from the shapes of the matrix products including padding in training, and without it in written texts; a reduction counts as 0",
    );
    // Data of the same size, in which people wrote something else once.
    const other = join(folder, "other");
    cpSync(data, other, { recursive: true });
    const rows = join(other, "validation.jsonl");
    const before = await Deno.readTextFile(rows);
    await Deno.writeTextFile(rows, before.replace("has warm", "has hot"));
    await assertRejects(
      () => reportOf(artifact(scores), artifact(other)),
      Error,
      '"x" scores other examples than "x" has',
    );
    const ofOther = await run("generate", params, {
      ...{ model, adapter, data: other },
    });
    await assertRejects(
      () => reportOf([...artifact(scores), ...artifact(ofOther)], []),
      Error,
      "cover different examples; evaluate all methods on the same data",
    );
    const paired = await attempt("classify", {
      texts: [{ text: "a", pair: "b" }],
    }, { model, adapter });
    assertStringIncludes(
      paired.text,
      'The texts are pairs, and the adapter is for texts of "data": give it single texts',
    );
    const { text } = await attempt(
      "generate",
      { ...params, split: "test" },
      { model, adapter, data },
    );
    assertStringIncludes(
      text,
      'There is no split "test"; the splits are train, validation',
    );
    const { output: glue } = await runTask(fetchGlue, folder, {
      task: "sst2",
      source: fixture("tiny-glue"),
    });
    const classifier = await referenceAdapter(
      folder,
      { ...REFERENCE_TRAINING, labels: ["a", "b"] },
      "llama",
    );
    for (
      const more of [{ adapter: classifier, data }, { adapter, data: glue }]
    ) {
      const { text } = await attempt("generate", params, { model, ...more });
      assertMatch(text, /Texts are not written for "sst2" with the classes /);
    }
    const texts = [{ text: lines[0].text }];
    const classified = await run(
      "classify",
      { ...{ texts, rank: 4, beams: 2, maxTokens: 8, precision: "f32" } },
      { model, adapter },
    );
    const [{ written }] = JSON.parse(
      await Deno.readTextFile(join(classified, "classification.json")),
    ).texts;
    assertEquals(written, lines[0].written[4]);
  }));

Deno.test("an answer ends where the template of the model ends it, whatever token its tokenizer names", () =>
  withEngineStages(async ({ folder, run, attempt }) => {
    const model = join(folder, "model");
    cpSync(fixture("tiny-llama"), model, { recursive: true });
    const path = join(model, "tokenizer_config.json");
    const config = JSON.parse(Deno.readTextFileSync(path));
    const chat = { eos_token: "<|endoftext|>", chat_template: template };
    Deno.writeTextFileSync(path, JSON.stringify({ ...config, ...chat }));
    const train = join(folder, "train.jsonl");
    const rows = ["a", "b", "c", "d"].map((content) =>
      JSON.stringify({
        messages: [
          { role: "user", content },
          { role: "assistant", content: "so" },
        ],
      })
    );
    Deno.writeTextFileSync(train, rows.join("\n"));
    const { output: data } = await runTask(fetchData, folder, {
      files: { train, validation: train },
      messages: "messages",
    });
    const { output: tokens } = await runTask(tokenize, folder, {}, {
      data,
      model,
    });
    const adapter = await run(
      "train-lora",
      { rank: 4, precision: "f32", epochs: 60, learningRate: 1e-2 },
      { model, tokens },
    );
    const params = { precision: "f32", beams: 1, maxTokens: 8 };
    const scores = await run("generate", params, { model, adapter, data });
    const [line] = (await Deno.readTextFile(join(scores, "texts.jsonl")))
      .split("\n");
    assertEquals(JSON.parse(line!).written, { 4: "so" });
    const noRoom = { ...params, maxTokens: 64 };
    const filled = await attempt("generate", noRoom, { model, adapter, data });
    assertMatch(
      filled.text,
      /"maxTokens" is 64, but the model has 64 positions, of which a prompt needs some: choose fewer, such as 32/,
    );
    const pairs = join(folder, "pairs.jsonl");
    Deno.writeTextFileSync(pairs, '{"text":"a","completion":"so"}');
    const { output: others } = await runTask(fetchData, folder, {
      files: { train: pairs, validation: pairs },
      completion: "completion",
    });
    const { output: otherTokens } = await runTask(tokenize, folder, {}, {
      data: others,
      model,
    });
    for (
      const [task, inputs] of [
        ["generate", { data: others }],
        ["evaluate-ranks", { tokens: otherTokens }],
        ["predict", { tokens: otherTokens }],
      ] as const
    ) {
      const refused = await attempt(task, {}, { model, adapter, ...inputs });
      assertMatch(
        refused.text,
        /trained for answers in the conversations of "data", but the (data|tokens) are for texts of "data": connect \1 that fetch-data reads by "messages"/,
        task,
      );
    }
    const texts = [{ text: "b" }];
    const classified = await run("classify", { ...params, texts }, {
      model,
      adapter,
    });
    const [{ written }] = JSON.parse(
      await Deno.readTextFile(join(classified, "classification.json")),
    ).texts;
    assertEquals(written, "so");
  }));
