/** Several labels for a text, from the file to predictions, by the tasks. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { readPredictions } from "../../lib/artifacts/predictions.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { readClasses } from "../../lib/artifacts/classes.ts";
import { readRecord } from "../../lib/artifacts/training.ts";
import { problemOf, scoresOf } from "../../lib/problems/registry.ts";
import { load } from "../../lib/serve/classifier.ts";
import { assertClose } from "../engine/reference.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";
import { logitsByRank } from "./logits_by_rank.ts";

const MODEL = join(import.meta.dirname!, "../../fixtures/tiny-bert");

/** Words of which each is one of the labels, where it is in a text. */
const LABELS = ["bad", "good", "story"];

/** Texts of a few words, with the labels that are among them. */
function rows(count: number): string[] {
  const fillers = ["the", "film", "is", "a", "music", "scene"];
  return Array.from({ length: count }, (_, i) => {
    const own = LABELS.filter((_, label) => (i >> label) % 2 === 1);
    const words = [...fillers.slice(i % 4), ...own, fillers[i % 5]!];
    return JSON.stringify({ text: `${words.join(" ")} ${i % 7}`, label: own });
  });
}

const F32 = { precision: "f32" } as const;

/** The inputs of a training: tokens of texts with labels. */
async function tokenized({ folder, run }: EngineStages) {
  const train = join(folder, "train.jsonl");
  await Deno.writeTextFile(train, rows(240).join("\n"));
  const data = await run("fetch-data", { files: { train }, holdout: 0.2 });
  const tokens = await run("tokenize", {}, { data, model: MODEL });
  return { model: MODEL, tokens };
}

/** How long an adapter trains until it has learnt the labels. */
const LONG = {
  ...F32,
  epochs: 12,
  learningRate: 0.01,
  targetModules: "all-linear",
} as const;

/** Trains an adapter on texts with labels. */
async function trained(stages: EngineStages) {
  const given = await tokenized(stages);
  const adapter = await stages.run("train-dylora", {
    ...LONG,
    rank: 4,
    sortAt: 1,
    selectOn: "validation",
    classWeights: "balanced",
  }, given);
  return { given, adapter };
}

Deno.test("several labels of a text are learnt, scored at all ranks with heads of their own, and predicted", () =>
  withEngineStages(async (stages) => {
    const { run } = stages;
    const { given, adapter } = await trained(stages);
    const heads = await run("fit-heads", F32, { ...given, adapter });
    const options = { ...F32, threshold: "best" };
    const scores = await run("evaluate-ranks", options, {
      ...given,
      adapter: heads,
    });
    const info = await readScores(scores);
    assertEquals(info.ranks.map(({ rank }) => rank), [1, 2, 4]);
    assertEquals(info.isBestThreshold, true);
    const { logits, labels } = readOutputs(scores);
    assertEquals(labels.length, info.examples * LABELS.length);
    // The words tell the labels: rank 4 has learnt them.
    const own = info.ranks.at(-1)!.metrics;
    assert(own.micro_f1! > 0.9, JSON.stringify(own));
    const problem = problemOf(info);
    const size = logits.length / 3;
    const predictions = problem.predictions(logits.subarray(2 * size));
    const names = Object.keys(own);
    assertEquals(scoresOf(problem, names, predictions, labels), own);

    const predicted = await readPredictions(
      await run("predict", { ...F32, split: "validation", threshold: 0.4 }, {
        ...given,
        adapter,
      }),
    );
    assertEquals(predicted.threshold, 0.4);
    assertEquals(predicted.examples, info.examples);
    assertEquals(
      predicted.predictions.length,
      info.examples * LABELS.length,
    );

    const classify = async (threshold?: number) => {
      const texts = [{ text: "the film is good good story" }];
      const output = await run("classify", { ...F32, texts, threshold }, {
        model: MODEL,
        adapter,
      });
      const path = join(output, "classification.json");
      return JSON.parse(Deno.readTextFileSync(path)).texts[0];
    };
    const { labels: found, probabilities } = await classify();
    assertEquals(found, ["good", "story"]);
    assertEquals(Object.keys(probabilities), LABELS);
    const sure = Math.max(...Object.values<number>(probabilities));
    assertEquals((await classify(Math.min(0.999999, sure + 1e-3))).labels, []);
  }));

/** Schedules and kinds of adapters: what they are called, their task and settings. */
const SCHEDULES: readonly (readonly [
  what: string,
  task: string,
  params: Readonly<Record<string, unknown>>,
])[] = [
  ["LoRA", "train-lora", { rank: 4 }],
  ["a DoRA", "train-lora", { rank: 4, adapter: "dora" }],
  ["DyLoRA with a rank for each step", "train-dylora", { rank: 4 }],
  ["DyLoRA that trains a row", "train-dylora", { rank: 4, mode: "frozen" }],
  [
    "DyLoRA that descends from higher ranks, with a rank for each example",
    "train-dylora",
    { rank: 4, sourceRanks: [16, 8], sortAt: 0.6, scope: "example" },
  ],
  ["Matryoshka", "train-matryoshka", { rank: 4 }],
];

/**
 * Micro F1 above that of predicting all labels, 0.67: each is in half of the
 * texts.
 */
const LEARNT = 0.75;

Deno.test("several labels of a text are learnt by every schedule, by full training, by the head alone, and by a training that continues another", () =>
  withEngineStages(async (stages) => {
    const { run } = stages;
    const given = await tokenized(stages);
    const scoresOfTask = async (
      task: string,
      params: Readonly<Record<string, unknown>>,
      more: Readonly<Record<string, string>> = {},
    ) => {
      const adapter = await run(task, { ...LONG, ...params }, {
        ...given,
        ...more,
      });
      const scores = await run("evaluate-ranks", F32, { ...given, adapter });
      const { ranks } = await readScores(scores);
      return { adapter, score: ranks.at(-1)!.metrics.micro_f1! };
    };
    for (const [what, task, params] of SCHEDULES) {
      const { adapter, score } = await scoresOfTask(task, params);
      assert(score > LEARNT, `${what}: ${score}`);
      if (task !== "train-matryoshka") continue;
      const short = { rank: 4, epochs: 1, startHead: "kept" };
      const next = await scoresOfTask("train-lora", short, { start: adapter });
      assert(next.score > LEARNT, `continued: ${next.score}`);
    }
    const { targetModules: _, ...plain } = LONG;
    for (
      const [task, learningRate] of [
        ["train-full", 2e-3],
        ["train-head", 1e-2],
      ] as const
    ) {
      const model = await run(task, { ...plain, learningRate }, given);
      const scores = await run("evaluate-model", F32, { ...given, model });
      const { ranks: [whole] } = await readScores(scores);
      const score = whole!.metrics.micro_f1!;
      assert(score > LEARNT, `${task}: ${score}`);
    }
  }));

Deno.test("an adapter of several labels is reduced by SVD, gets heads fitted to what it says and to labels, and keeps what it says when it is exported, resized and imported", () =>
  withEngineStages(async (stages) => {
    const { run } = stages;
    const given = await tokenized(stages);
    const lora = await run("train-lora", { ...LONG, rank: 4 }, given);
    const whole = await logitsByRank(stages, { ...given, adapter: lora }, F32);
    const svd = await run("reduce-adapter", { by: "svd" }, { adapter: lora });
    const reduced = await logitsByRank(stages, { ...given, adapter: svd }, F32);
    assertEquals([...reduced.keys()], [1, 2, 3, 4]);
    assertClose(reduced.get(4)!, whole.get(4)!, 1e-4, "SVD at its own rank");

    for (const target of ["adapter", "labels"]) {
      const heads = await run("fit-heads", { ...F32, target }, {
        ...given,
        adapter: svd,
      });
      const { heads: fitted } = await readRecord(heads);
      const found = fitted!.ranks.filter(({ heldOut }) =>
        heldOut !== undefined
      );
      assertEquals(
        found.map(({ rank }) => rank),
        target === "labels" ? [1, 2, 4] : [1, 2],
      );
      for (const { rank, heldOut } of found) {
        const { given, fitted } = heldOut!;
        assert(fitted <= given, `${target}, rank ${rank}: ${fitted}, ${given}`);
      }
    }

    const exported = await run("export-adapter", {}, {
      ...given,
      adapter: lora,
    });
    const resized = await run("resize", { rank: 4 }, { adapter: exported });
    assertEquals(await readClasses(resized), await readClasses(exported));
    const imported = await run("import-adapter", { source: resized }, given);
    const again = await logitsByRank(
      stages,
      { ...given, adapter: imported },
      F32,
    );
    assertClose(again.get(4)!, whole.get(4)!, 1e-4, "resized and imported");
    // Of an adapter without names, the tokens say that a text has any number.
    await Deno.remove(join(resized, "classes.json"));
    const unnamed = await run("import-adapter", { source: resized }, given);
    const { problem, labels } = await readRecord(unnamed);
    assertEquals([problem, labels], ["multi-label", LABELS]);
  }));

Deno.test("an export in ONNX gives the labels and the probabilities that classify gives, at every rank and threshold", () =>
  withEngineStages(async (stages) => {
    const { run } = stages;
    const { given, adapter } = await trained(stages);
    const folder = await run("export-onnx", {}, { ...given, adapter });
    const answer = await load(folder);
    assertEquals(answer.problem, "multi-label");
    assertEquals(answer.labels, LABELS);
    assertEquals(answer.threshold, 0.5);
    const texts = ["the film is good story", "bad", "a scene"];
    let predicted = 0;
    for (const rank of [1, 2, 4]) {
      for (const threshold of [0.5, 0.05]) {
        const params = {
          ...F32,
          texts: texts.map((text) => ({ text })),
          rank,
          threshold,
        };
        const output = await run("classify", params, { ...given, adapter });
        const path = join(output, "classification.json");
        const { texts: expected } = JSON.parse(Deno.readTextFileSync(path));
        const answers = await answer(texts, { rank, threshold });
        for (const [i, { label, labels, score, scores }] of answers.entries()) {
          assertEquals(label, undefined);
          assertEquals(labels!.toSorted(), expected[i].labels.toSorted());
          const shares = labels!.map((name) => scores[name]!);
          assertEquals(shares, shares.toSorted((a, b) => b - a));
          const values = Object.values<number>(expected[i].probabilities);
          assertClose(Object.values(scores), values, 1e-4, `rank ${rank}`);
          assertEquals(score, Math.max(...Object.values(scores)));
          predicted += labels!.length;
        }
      }
    }
    assert(predicted > 0);
    await answer.release();
    const dtypes = ["fp16", "q8"];
    for (const dtype of dtypes) {
      const small = await run("export-onnx", { dtype }, { ...given, adapter });
      const card = await Deno.readTextFile(join(small, "README.md"));
      const [, texts, differ] =
        /On the (\d+) examples of the split validation, in percent: micro F1 .*\. (\d+) labels differ\./
          .exec(card)!;
      assertEquals(texts, "48");
      assert(Number(differ) < 24, differ);
    }
  }));
