import {
  assert,
  assertEquals,
  assertIsError,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { GLUE_TASKS, type GlueTaskName } from "../../lib/glue/benchmark.ts";
import { ModelTokenizer } from "../../lib/glue/model_tokenizer.ts";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import { readTokens, readTokensInfo } from "../../lib/artifacts/tokens.ts";
import fetchGlue from "../../tasks/fetch-glue.ts";
import fetchModel from "../../tasks/fetch-model.ts";
import tokenize from "../../tasks/tokenize.ts";
import { runTask, withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");
const source = join(fixtures, "tiny-glue");

for (const task of Object.keys(GLUE_TASKS) as GlueTaskName[]) {
  if (task === "ax") continue;
  Deno.test(`fetch-glue and tokenize turn ${task} into tokens from which every text comes back`, () =>
    withFolder(async (folder) => {
      const model = await runTask(fetchModel, folder, {
        source: join(fixtures, "tiny-roberta"),
      });
      const data = await runTask(fetchGlue, folder, { task, source });
      const inputs = { model: model.output, data: data.output };
      const { output } = await runTask(tokenize, folder, {}, inputs);

      const dataset = await readDatasetInfo(data.output);
      const info = await readTokensInfo(output);
      assertEquals(info.maxLength, 64, "the model has 66 positions, 2 unused");
      assertEquals(info.padId, 1);
      assertEquals<readonly string[] | null>(
        info.labels,
        GLUE_TASKS[task].labels,
      );
      assertEquals(
        Object.keys(info.splits),
        Object.keys(GLUE_TASKS[task].tsvFiles),
      );
      const tokenizer = await ModelTokenizer.load(model.output, "roberta", 64);
      for (const split of Object.keys(info.splits)) {
        const examples = await readExamples(data.output, dataset, split);
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

Deno.test("fetch-glue draws the same subset each time, and a larger one around it", () =>
  withFolder(async (folder) => {
    const draw = async (train: number, seed: number) => {
      const { output } = await runTask(fetchGlue, folder, {
        task: "rte",
        source,
        limit: { train },
        seed,
      });
      const info = await readDatasetInfo(output);
      assertEquals(info.splits.train, train);
      const examples = await readExamples(output, info, "train");
      return examples.map(({ index }) => index);
    };
    const few = await draw(10, 1);
    assertEquals(await draw(10, 1), few);
    assertNotEquals(await draw(10, 2), few);
    assertEquals(few, few.toSorted((a, b) => a - b), "keeps their order");
    const more = await draw(20, 1);
    assert(few.every((index) => more.includes(index)));
  }));

Deno.test("fetch-glue takes validation for both halves of MNLI's", () =>
  withFolder(async (folder) => {
    const { output } = await runTask(fetchGlue, folder, {
      task: "mnli",
      source,
      splits: ["validation"],
      limit: { validation: 5 },
    });
    assertEquals((await readDatasetInfo(output)).splits, {
      validation_matched: 5,
      validation_mismatched: 5,
    });
  }));

Deno.test("fetch-glue limits a split by its own name before the name of several, in whatever order they stand", () =>
  withFolder(async (folder) => {
    for (
      const limit of [
        { validation: 5, validation_matched: 3 },
        { validation_matched: 3, validation: 5 },
      ]
    ) {
      const { output } = await runTask(fetchGlue, folder, {
        task: "mnli",
        source,
        splits: ["validation"],
        limit,
      });
      assertEquals((await readDatasetInfo(output)).splits, {
        validation_matched: 3,
        validation_mismatched: 5,
      });
    }
  }));

Deno.test("fetch-glue refuses splits and limits that the task does not have, and limits of splits that it is not asked for", () => {
  const faultsOf = (params: Record<string, unknown>) =>
    fetchGlue.params.safeParse(params).error?.issues
      .map(({ path, message }) => `${path.join(".")}: ${message}`);
  assertEquals(
    faultsOf({
      task: "cola",
      splits: ["train", "test_matched"],
      limit: { train: 5, validation_matched: 5, test: 5 },
    }),
    [
      'splits.1: Expected a split of CoLA ("train", "validation", "test")',
      'limit.validation_matched: Expected a limit of a split of CoLA ("train", "validation", "test")',
      'limit.test: Expected a limit of a split that "splits" asks for ("train")',
    ],
  );
  const limit = { train: 5, validation: 5 };
  for (const task of ["mnli", "cola"]) {
    assertEquals(faultsOf({ task, limit }), undefined);
  }
  const splits = ["train", "validation_mismatched"];
  assertEquals(faultsOf({ task: "mnli", splits, limit }), undefined);
  assertEquals(faultsOf({ task: "ax", limit: { train: 5 } }), [
    'limit.train: Expected a limit of a split of AX ("test")',
  ]);
});

Deno.test("fetch-glue says which split a folder lacks, and fails if it was asked for", () =>
  withFolder(async (folder) => {
    const own = join(folder, "RTE");
    await Deno.mkdir(own);
    await Deno.copyFile(join(source, "RTE/dev.tsv"), join(own, "dev.tsv"));
    const { log, output } = await runTask(fetchGlue, folder, {
      task: "rte",
      source: own,
    });
    assert(log.some((line) => /^train: .*RTE.train.tsv" does not/.test(line)));
    assertEquals(Object.keys((await readDatasetInfo(output)).splits), [
      "validation",
    ]);
    assertIsError(
      await assertRejects(() =>
        runTask(fetchGlue, folder, {
          task: "rte",
          source: folder,
          splits: ["train", "validation"],
        })
      ),
      Error,
      /RTE.train\.tsv" does not exist; .* split "train"/,
    );
    await assertRejects(
      () => runTask(fetchGlue, folder, { task: "mrpc", source: folder }),
      Error,
      'MRPC" has none of the files "train.tsv", "dev.tsv", "test.tsv"',
    );
  }));

Deno.test("fetch-glue puts the files of its own task in the key, not those of others", () => {
  const params = fetchGlue.params.parse({ task: "sst2", source: "/data/glue" });
  const sources = { source: join("/data/glue", "SST-2") };
  assertEquals(fetchGlue.sources!(params), sources);
  assertEquals(fetchGlue.sources!({ ...params, ...sources }), sources);
  assertEquals(fetchGlue.sources!({ ...params, source: "hub" }), {});
});

Deno.test("fetch-model writes down what the model is called, but not where it lies", () =>
  withFolder(async (folder) => {
    const source = join(fixtures, "tiny-roberta");
    const { output } = await runTask(fetchModel, folder, { source });
    const text = await Deno.readTextFile(join(output, "origin.json"));
    assertEquals(JSON.parse(text), {
      name: "tiny-roberta",
      revision: null,
    });
  }));

Deno.test("fetch-model says what a folder lacks and how to make it", () =>
  withFolder(async (folder) => {
    const tiny = join(fixtures, "tiny-bert");
    await Deno.copyFile(join(tiny, "config.json"), join(folder, "config.json"));
    const fetch = () => runTask(fetchModel, folder, { source: folder });
    await assertRejects(
      fetch,
      Error,
      'has no "model.safetensors"\nUse a folder',
    );
    await Deno.writeTextFile(join(folder, "pytorch_model.bin"), "");
    assertIsError(
      await assertRejects(fetch),
      Error,
      /no "model.safetensors"\n.*save_pretrained/,
    );
    const weights = join(folder, "model.safetensors");
    await Deno.copyFile(join(tiny, "model.safetensors"), weights);
    await Deno.writeTextFile(join(folder, "vocab.txt"), "");
    assertIsError(
      await assertRejects(fetch),
      Error,
      /no "tokenizer.json"\n.*AutoTokenizer/,
    );
  }));

Deno.test("fetch-model refuses a model of another kind, and damaged weights, by file", () =>
  withFolder(async (folder) => {
    const tiny = join(fixtures, "tiny-bert");
    for (const { name } of Deno.readDirSync(tiny)) {
      await Deno.copyFile(join(tiny, name), join(folder, name));
    }
    const config = join(folder, "config.json");
    const fetch = () => runTask(fetchModel, folder, { source: folder });
    const text = await Deno.readTextFile(config);
    await Deno.writeTextFile(config, text.replace('"bert"', '"gpt2"'));
    assertIsError(
      await assertRejects(fetch),
      Error,
      /config.json.*\n.*"gpt2" is not supported/,
    );
    await Deno.writeTextFile(config, text);
    await Deno.truncate(join(folder, "model.safetensors"), 5000);
    assertIsError(
      await assertRejects(fetch),
      Error,
      /model.safetensors" as safetensors: .*truncated/,
    );
  }));

Deno.test("tokenize refuses more tokens than the model has positions", () =>
  withFolder(async (folder) => {
    const inputs = {
      model: join(fixtures, "tiny-roberta"),
      data: (await runTask(fetchGlue, folder, { task: "rte", source })).output,
    };
    await assertRejects(
      () => runTask(tokenize, folder, { maxLength: 65 }, inputs),
      Error,
      "maxLength is 65, but the model has positions for 64 tokens",
    );
    await assertRejects(
      () => runTask(tokenize, folder, { splits: ["dev"] }, inputs),
      Error,
      'no split "dev"; it has "train", "validation", "test"',
    );
    const short = await runTask(tokenize, folder, { maxLength: 10 }, inputs);
    const info = await readTokensInfo(short.output);
    assertEquals(info.splits.train!.longest, 10);
  }));

Deno.test("tokenize writes the same bytes each time", () =>
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
