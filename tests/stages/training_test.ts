import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { readScoredSplit } from "../../lib/stages/scored_split.ts";
import { progressReporter, scoreEpoch } from "../../lib/stages/training.ts";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { readTokensInfo, writeTokens } from "../../lib/artifacts/tokens.ts";
import evaluateRanks from "../../tasks/evaluate-ranks.ts";
import { withEngineStages } from "../tasks/engine_stages.ts";
import {
  REFERENCE_TRAINING,
  referenceAdapter,
} from "../tasks/reference_adapter.ts";
import { runTask, withFolder } from "../tasks/run_task.ts";

Deno.test("evaluate-ranks rejects untrained ranks, and trainings and evaluations reject tokens of another tokenizer", () =>
  withEngineStages(async ({ run, attempt, given }) => {
    const params = { rank: 4, epochs: 1, batchSize: 8 };
    const lora = await run("train-lora", params, given);
    const cut = await attempt("evaluate-ranks", { ranks: [2, 4] }, {
      ...given,
      adapter: lora,
    });
    assertEquals(cut.code, 1);
    assertMatch(
      cut.text,
      /serves rank 4 only, not rank 2: reduce it with .*reduce-adapter/,
    );
    const sampler = { kind: "list", ranks: [2, 4] };
    const dylora = await run("train-dylora", { ...params, sampler }, given);
    const low = await attempt("evaluate-ranks", { ranks: [1] }, {
      ...given,
      adapter: dylora,
    });
    assertEquals(low.code, 1);
    assertMatch(
      low.text,
      /Rank 1 was not trained: the adapter serves ranks 2 to 4/,
    );

    const model = join(import.meta.dirname!, "../../fixtures/tiny-bert");
    const data = await run("fetch-glue", {
      task: "rte",
      source: join(import.meta.dirname!, "../../fixtures/tiny-glue"),
      limit: { train: 64, validation: 32 },
    });
    const tokens = await run("tokenize", {}, { model, data });
    const foreign =
      /made by a different tokenizer than the model's: tokenize the data with this model/;
    for (
      const [task, params, inputs] of [
        ["train-lora", { rank: 4 }, {}],
        ["train-head", {}, {}],
        ["evaluate-ranks", {}, { adapter: dylora }],
        ["predict", { split: "validation" }, { adapter: dylora }],
      ] as const
    ) {
      const refused = await attempt(task, params, {
        model: given.model,
        tokens,
        ...inputs,
      });
      assertEquals(refused.code, 1, task);
      assertMatch(refused.text, foreign, task);
    }
  }));

Deno.test("evaluate-ranks rejects tokens with other classes than the adapter", () =>
  withFolder(async (folder) => {
    const adapter = await referenceAdapter(folder, {
      ...REFERENCE_TRAINING,
      labels: ["negative", "positive"],
    });
    const tokens = await Deno.makeTempDir({ dir: folder });
    const model = join(import.meta.dirname!, "../../fixtures/tiny-roberta");
    await writeTokens(tokens, {
      task: "cola",
      problem: "classification",
      labels: ["unacceptable", "acceptable"],
      metrics: ["accuracy"],
      maxLength: 8,
      vocabSize: 9,
      tokenizer: await digestOf(join(model, "tokenizer.json")),
    }, {});
    await assertRejects(
      () => runTask(evaluateRanks, folder, {}, { model, adapter, tokens }),
      Error,
      'trained for "sst2" with the classes negative, positive, but the tokens are for "cola" with the classes unacceptable, acceptable',
    );
  }));

Deno.test("a training with a damaged checkpoint starts from the first step and says so", () =>
  withEngineStages(async ({ folder, attempt, given }) => {
    const checkpoint = await Deno.makeTempDir({ dir: folder });
    const params = { rank: 2, epochs: 2, batchSize: 8 };
    const interrupt = new AbortController();
    const { signal } = interrupt;
    const progress = (step: number) =>
      step > 2 && interrupt.abort(new Error("Interrupted"));
    const stopped = await attempt("train-lora", params, given, {
      checkpoint,
      signal,
      progress,
    });
    assertEquals(stopped, { code: 1, text: "Interrupted" });
    const path = join(checkpoint, "training.safetensors");
    const bytes = await Deno.readFile(path);
    bytes[bytes.length >> 1]! ^= 1;
    await Deno.writeFile(path, bytes);
    const steps: number[] = [];
    const { code, text } = await attempt("train-lora", params, given, {
      checkpoint,
      progress: (step) => steps.push(step),
    });
    assertEquals(code, 0, text);
    assertEquals(steps[0], 0);
    assertMatch(text, /^Starting .*, since the checkpoint is damaged/m);
  }));

Deno.test("scoreEpoch() refuses a loss that is no number, which no epoch has as its best", () =>
  withFolder(async (folder) => {
    const validation = {
      ...{ ids: Int32Array.of(3, 4, 5), types: new Uint8Array(3) },
      ...{ offsets: Int32Array.of(0, 3), index: Int32Array.of(0) },
      labels: Float32Array.of(4, 5),
      words: {
        offsets: Int32Array.of(0, 2),
        tokens: Int32Array.of(0, 1),
        numbers: Int32Array.of(0, 1),
      },
    };
    await writeTokens(folder, {
      ...{ task: "own", problem: "language", labels: null },
      ...{ metrics: ["loss"], maxLength: 8, vocabSize: 9 },
      tokenizer: "0".repeat(64),
    }, { validation });
    const info = await readTokensInfo(folder);
    const split = readScoredSplit(folder, info, "validation");
    const scoreOf = (...losses: number[]) =>
      scoreEpoch(split, [1, 2], Float32Array.from(losses), () => {}).score;
    assertEquals(scoreOf(1, 2, 3, 4), -2.5);
    for (const loss of [NaN, Infinity]) {
      assertThrows(
        () => scoreOf(1, 2, 3, loss),
        RangeError,
        `Training has diverged, validation: loss 1.5000 ${loss} at ranks 1 2`,
      );
    }
  }));

Deno.test("progressReporter() gives the speed of the products, and names the ranks of a step", () => {
  const lines: string[] = [];
  const { report } = progressReporter({
    log: (line) => lines.push(line),
    metric: () => {},
    progress: () => {},
  });
  const given = {
    steps: 30,
    loss: 0.5,
    learningRate: 1e-3,
    ranks: [3],
    msPerStep: 100,
    tokensPerSecond: 1000,
  };
  report({ ...given, step: 10, flopsPerSecond: 50e9 });
  report({ ...given, ranks: [8, 8], step: 20, flopsPerSecond: 200e9 });
  report({ ...given, ranks: [5, 2, 8, 3], step: 30, flopsPerSecond: 50e9 });
  const speeds = lines.map((line) => /(\d+) GFLOPS/.exec(line)![1]);
  assertEquals(speeds, ["50", "200", "50"]);
  const ranks = lines.map((line) => /ranks? .*?(?= {2})/.exec(line)![0]);
  assertEquals(ranks, ["rank 3", "rank 8", "ranks 2 to 8"]);
});
