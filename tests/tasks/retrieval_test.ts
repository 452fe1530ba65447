/** Embeddings for search, from the file to the report, by the tasks. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readRecord } from "../../lib/artifacts/training.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { problemOf, scoresOf } from "../../lib/problems/registry.ts";
import type { Report } from "../../lib/report/report.ts";
import { fixture } from "../engine/reference.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";

const MODEL = fixture("tiny-bert");
const F32 = { precision: "f32" } as const;

/** Texts of meanings, read and tokenized. */
async function searched({ run }: EngineStages) {
  const data = await run("fetch-data", {
    files: {
      train: fixture("tiny-e2e/train.csv"),
      validation: fixture("tiny-e2e/validation.csv"),
      corpus: fixture("tiny-e2e/train.csv"),
    },
    text: "mr",
    positive: "ref",
  });
  const tokens = await run("tokenize", {}, { data, model: MODEL });
  return { data, given: { model: MODEL, tokens } };
}

const TRAINING = {
  ...F32,
  rank: 4,
  epochs: 8,
  batchSize: 16,
  learningRate: 0.01,
  targetModules: "all-linear",
};

Deno.test("texts are found by their meaning at every rank of one training, better than by the model without an adapter", () =>
  withEngineStages(async (stages) => {
    const { run } = stages;
    const { data, given } = await searched(stages);
    const adapter = await run("train-dylora", {
      ...TRAINING,
      sortAt: 1,
      selectOn: "validation",
    }, given);
    const training = await readRecord(adapter);
    assertEquals(training.problem, "retrieval");
    assertEquals(training.selection!.metric, "accuracy@1");
    // Nothing is fitted for a rank, since no head is trained.
    const passed = await run("fit-heads", F32, { ...given, adapter });
    const scores = [];
    for (const it of [adapter, passed]) {
      scores.push(
        await run("evaluate-ranks", F32, { ...given, adapter: it }),
      );
    }
    const info = await readScores(scores[0]!);
    assertEquals(info.ranks.map(({ rank }) => rank), [0, 1, 2, 3, 4]);
    const { logits, labels } = readOutputs(scores[0]!);
    const problem = problemOf(info);
    assertEquals(problem.units(labels), info.examples);
    const own = info.ranks.at(-1)!.metrics;
    const size = logits.length / 5;
    const names = Object.keys(own);
    const predictions = problem.predictions(logits.subarray(4 * size));
    assertEquals(scoresOf(problem, names, predictions, labels), own);
    const [without] = info.ranks;
    assert(
      own["mrr@10"]! > without!.metrics["mrr@10"]! + 0.1,
      JSON.stringify([without, own]),
    );

    const artifact = (stage: string, path: string) => (
      { stage, matrix: {}, path, place: path, seconds: 1 }
    );
    const output = await run("report", { replicates: 200 }, {}, {
      inputs: {
        data: [artifact("data", data)],
        tokenized: [artifact("tokenize", given.tokens)],
        scores: scores.map((path, i) => artifact(`scores-${i}`, path)),
        adapters: [artifact("fit-heads", passed), {
          ...artifact("train-dylora", adapter),
          metrics: {
            training_seconds: 10,
            selection_seconds: 1,
            step_seconds: 0.1,
          },
        }],
        classifiers: [],
      },
    } as never);
    const report: Report = JSON.parse(
      Deno.readTextFileSync(join(output, "report.json")),
    );
    const [comparison] = report.comparisons;
    const { methods, mistakes } = comparison!;
    assertEquals(methods.map(({ method }) => method), [
      "lora-svd",
      "pretrained",
    ]);
    assertEquals(mistakes.missedCount!.queries, info.examples);
    const markdown = Deno.readTextFileSync(join(output, "report.md"));
    for (
      const text of [
        "| Model without an adapter |",
        "The model without an adapter has",
        "| Position | Query | Answer | Ranked first |",
      ]
    ) assert(markdown.includes(text), `${text} in ${markdown}`);
  }));

Deno.test("a training of texts that belong together also finds queries by answers, on request alone", () =>
  withEngineStages(async (stages) => {
    const { run } = stages;
    const { given } = await searched(stages);
    const short = { ...TRAINING, epochs: 1 };
    const usual = await run("train-lora", short, given);
    const symmetric = await run(
      "train-lora",
      { ...short, symmetric: true },
      given,
    );
    const losses = async (folder: string) =>
      (await readRecord(folder) as { losses: unknown }).losses;
    assert(
      JSON.stringify(await losses(usual)) !==
        JSON.stringify(await losses(symmetric)),
    );
    await assertRejects(
      () => run("train-lora", { ...short, batchSize: 1 }, given),
      Error,
      '"batchSize: 1" teaches nothing',
    );
  }));

Deno.test("texts find others of their group better than by the model without an adapter, at every rank", () =>
  withEngineStages(async ({ run, folder }) => {
    // A text has one of the words of its group, among others that say nothing.
    const words = [["warm", "cold"], ["fresh", "smart"], ["film", "plot"]];
    const fillers = ["the", "a", "is", "music", "scene", "story"];
    const rows = words.flatMap((ofGroup, group) =>
      ofGroup.flatMap((word) =>
        fillers.flatMap((a, i) =>
          fillers.slice(i + 1).map((b) =>
            `${a} ${b} ${word} ${b} ${a},${group}`
          )
        )
      )
    );
    const splits = Map.groupBy(rows.keys(), (i) => i % 3 === 0);
    const write = async (name: string, numbers: readonly number[]) => {
      const path = join(folder, name);
      const lines = numbers.map((i) => rows[i]!);
      await Deno.writeTextFile(path, ["text,intent", ...lines].join("\n"));
      return path;
    };
    const data = await run("fetch-data", {
      files: {
        train: await write("train.csv", splits.get(false)!),
        validation: await write("validation.csv", splits.get(true)!),
      },
      group: "intent",
    });
    const tokens = await run("tokenize", {}, { data, model: MODEL });
    const given = { model: MODEL, tokens };
    const adapter = await run("train-dylora", {
      ...TRAINING,
      sortAt: 1,
      epochs: 6,
    }, given);
    assertEquals((await readRecord(adapter)).problem, "groups");
    const scores = await run("evaluate-ranks", F32, { ...given, adapter });
    const info = await readScores(scores);
    const [without, ...ranks] = info.ranks
      .map(({ metrics }) => metrics["accuracy@1"]!);
    assertEquals(ranks.length, 4);
    for (const score of ranks) {
      assert(score > without! + 0.1, JSON.stringify([without, ranks]));
    }
  }));

Deno.test("pairs with scores are learnt by CoSENT, by every schedule of ranks", () =>
  withEngineStages(async ({ run, folder }) => {
    const words = ["warm", "cold", "fresh", "smart", "film", "plot"];
    const rows = words.flatMap((a, i) =>
      words.map((b, k) => `the ${a} music,a ${b} scene,${5 - Math.abs(i - k)}`)
    );
    const train = join(folder, "pairs.csv");
    await Deno.writeTextFile(train, ["a,b,score", ...rows].join("\n"));
    const files = { train, validation: train };
    const data = await run("fetch-data", {
      files,
      text: "a",
      positive: "b",
      score: "score",
    });
    const tokens = await run("tokenize", {}, { data, model: MODEL });
    const given = { model: MODEL, tokens };
    for (
      const [task, params] of [
        ["train-lora", {}],
        ["train-dylora", { scope: "example" }],
        ["train-matryoshka", {}],
      ] as const
    ) {
      const adapter = await run(
        task,
        { ...TRAINING, epochs: 40, ...params },
        given,
      );
      const scores = await run("evaluate-ranks", F32, { ...given, adapter });
      const { ranks } = await readScores(scores);
      const before = ranks[0]!.metrics.spearman_cosine!;
      const after = ranks.at(-1)!.metrics.spearman_cosine!;
      assert(after > before + 0.1, `${task}: from ${before} to ${after}`);
    }
  }));
