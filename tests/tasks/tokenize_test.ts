import { roberta } from "../../lib/engine/models/roberta.ts";
import { tokenizerDefaults } from "../../lib/engine/models/registry.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { GLUE_TASKS, type GlueTaskName } from "../../lib/benchmarks/glue.ts";
import { ModelTokenizer } from "../../lib/text/model_tokenizer.ts";
import { readExamples } from "../../lib/artifacts/dataset.ts";
import {
  MANY_TOKENS_PER_WORD,
  readTokens,
  readTokensInfo,
  TOKENS_PER_WORD,
} from "../../lib/artifacts/tokens.ts";
import fetchData from "../../tasks/fetch-data.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import fetchModel from "../../tasks/fetch-model.ts";
import tokenize from "../../tasks/tokenize.ts";
import { runTask, withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const source = join(fixtures, "tiny-glue");

for (const task of Object.keys(GLUE_TASKS) as GlueTaskName[]) {
  Deno.test(`tokenize keeps every example of ${task}`, () =>
    withFolder(async (folder) => {
      const model = await runTask(fetchModel, folder, {
        source: join(fixtures, "tiny-roberta"),
      });
      const data = await runTask(fetchGlue, folder, { task, source });
      const inputs = { model: model.output, data: data.output };
      const { output } = await runTask(tokenize, folder, {}, inputs);

      const info = await readTokensInfo(output);
      assertEquals(info.maxLength, 64, "the model has 66 positions, 2 unused");
      assertEquals<readonly string[] | null>(
        info.labels,
        GLUE_TASKS[task].labels,
      );
      assertEquals<readonly string[]>(info.metrics, GLUE_TASKS[task].metrics);
      assertEquals(
        Object.keys(info.splits),
        Object.keys(GLUE_TASKS[task].tsvFiles),
      );
      const tokenizer = await ModelTokenizer.load(
        model.output,
        tokenizerDefaults(roberta),
        64,
      );
      for (const split of Object.keys(info.splits)) {
        const examples = await readExamples(data.output, split);
        const tokens = readTokens(output, info, split);
        assertEquals(tokens.labels === undefined, split.startsWith("test"));
        for (const [i, { text, pair, label, index }] of examples.entries()) {
          const ids = tokens.ids.subarray(
            tokens.offsets[i],
            tokens.offsets[i + 1],
          );
          assertEquals([...ids], tokenizer.encode(text, pair).ids);
          assertEquals(tokens.index[i], index);
          assertEquals(
            tokens.labels?.[i],
            label === undefined ? undefined : Math.fround(label),
          );
        }
      }
    }));
}

Deno.test("tokenize rejects a maxLength beyond the positions of the model", () =>
  withFolder(async (folder) => {
    const inputs = {
      model: join(fixtures, "tiny-roberta"),
      data: (await runTask(fetchGlue, folder, { task: "rte", source })).output,
    };
    await assertRejects(
      () => runTask(tokenize, folder, { maxLength: 65 }, inputs),
      Error,
      '"maxLength" is 65, but the model has 64 positions: choose at most that many, as by -S maxLength=64',
    );
    const short = await runTask(tokenize, folder, { maxLength: 10 }, inputs);
    const info = await readTokensInfo(short.output);
    const { offsets } = readTokens(short.output, info, "train");
    const lengths = Array.from(
      offsets.subarray(1),
      (it, i) => it - offsets[i]!,
    );
    assertEquals(Math.max(...lengths), 10);
  }));

Deno.test("tokenize says how many examples are truncated", () =>
  withFolder(async (folder) => {
    const { output: data } = await runTask(fetchGlue, folder, {
      task: "rte",
      source,
    });
    const model = join(fixtures, "tiny-roberta");
    const inputs = { data, model };
    const whole = await runTask(tokenize, folder, {}, inputs);
    const info = await readTokensInfo(whole.output);
    const { offsets } = readTokens(whole.output, info, "train");
    const lengths = [...offsets.slice(1)].map((end, i) => end - offsets[i]!);
    const longest = Math.max(...lengths);
    assertEquals(longest < 64, true, "none is truncated");
    assertEquals(
      whole.log[0],
      `train: 400 examples, ${
        offsets.at(-1)
      } tokens; none truncated to 64 tokens`,
    );
    for (const maxLength of [longest, longest - 1, 12]) {
      const long = lengths.filter((it) => it > maxLength).length;
      const { log } = await runTask(tokenize, folder, { maxLength }, inputs);
      const found = long === 0
        ? "none"
        : `${long} of 400 sequences (${(long / 4).toFixed(1)} %)`;
      assertEquals(
        log[0]!.split("; ")[1],
        `${found} truncated to ${maxLength} tokens`,
      );
    }
  }));

Deno.test("tokenize measures the tokens of a word, whose number is high in a language that the model does not know", () =>
  withFolder(async (folder) => {
    const model = join(fixtures, "tiny-bert");
    const tokensPerWord = async (name: string, rows: readonly string[]) => {
      const file = join(folder, `${name}.jsonl`);
      const lines = rows.map((text, i) =>
        `${JSON.stringify({ text, label: i % 2 === 0 ? "a" : "b" })}\n`
      );
      await Deno.writeTextFile(file, lines.join(""));
      const data = await runTask(fetchData, folder, {
        files: { train: file },
      });
      const inputs = { model, data: data.output };
      // Truncated texts count as a whole.
      const { metrics } = await runTask(
        tokenize,
        folder,
        { maxLength: 8 },
        inputs,
      );
      return metrics.get(TOKENS_PER_WORD)!;
    };
    const english = await tokensPerWord("english", [
      "i find the humor really silly .",
      "the story is never great .",
    ]);
    assertEquals(english, 1);
    const german = await tokensPerWord("german", [
      "Wo bleibt mein Paket? Es wurde bereits zugestellt.",
      "Die Rechnung wurde doppelt abgebucht.",
    ]);
    assert(german >= MANY_TOKENS_PER_WORD, String(german));
  }));

Deno.test("tokenize writes the same bytes every time", () =>
  withFolder(async (folder) => {
    const data = await runTask(fetchGlue, folder, { task: "stsb", source });
    const inputs = { model: join(fixtures, "tiny-bert"), data: data.output };
    const [first, second] = [
      await runTask(tokenize, folder, {}, inputs),
      await runTask(tokenize, folder, {}, inputs),
    ];
    for (const { name } of Deno.readDirSync(first.output)) {
      assertEquals(
        Deno.readFileSync(join(first.output, name)),
        Deno.readFileSync(join(second.output, name)),
      );
    }
  }));
