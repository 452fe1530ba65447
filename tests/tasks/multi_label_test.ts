/** Several labels for a text, from the file to predictions, by the tasks. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readPredictions } from "../../lib/artifacts/predictions.ts";
import { readOutputs, readScores } from "../../lib/artifacts/scores.ts";
import { problemOf, scoresOf } from "../../lib/problems/registry.ts";
import { type EngineStages, withEngineStages } from "./engine_stages.ts";

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

/** Reads and tokenizes texts, and trains an adapter on them. */
async function trained({ folder, run }: EngineStages) {
  const train = join(folder, "train.jsonl");
  await Deno.writeTextFile(train, rows(240).join("\n"));
  const data = await run("fetch-data", { files: { train }, holdout: 0.2 });
  const tokens = await run("tokenize", {}, { data, model: MODEL });
  const given = { model: MODEL, tokens };
  const adapter = await run("train-dylora", {
    ...F32,
    rank: 4,
    epochs: 12,
    learningRate: 0.01,
    targetModules: "all-linear",
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

    await assertRejects(
      () => run("export-onnx", { rank: 2 }, { ...given, adapter }),
      Error,
      'An adapter for "problem: multi-label" is not exported in ONNX: export it for PEFT',
    );
  }));
