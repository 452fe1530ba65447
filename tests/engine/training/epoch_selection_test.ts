import {
  assert,
  assertEquals,
  assertNotEquals,
  assertRejects,
} from "@std/assert";
import { join } from "node:path";
import { training } from "../engine.ts";
import {
  loadCheckpoint,
  saveCheckpoint,
} from "../../../lib/engine/training/checkpoint.ts";
import type { Classifier } from "../../../lib/engine/models/classifier.ts";
import { evaluator } from "../../../lib/engine/training/evaluation.ts";
import {
  train,
  type TrainingHooks,
} from "../../../lib/engine/training/train.ts";
import { tinyClassifier, tinyExamples, tinyOptions } from "../tiny_task.ts";
import { assertSameBits } from "../reference.ts";

const quiet: TrainingHooks = { report: () => {} };
const examples = tinyExamples(40);
const ranks = [1, 4, 8];
const stepsPerEpoch = 5;

Deno.test(
  "train() keeps the parameters of the best epoch, the earliest on a tie, and of the last",
  training,
  async () => {
    const { classifier, initial } = tinyClassifier();
    const seen: Float32Array[] = [];
    const scores = [0.25, 0.75, 0.5, 0.75];
    const options = { ...tinyOptions, epochs: 4 };
    const result = await train(classifier, initial, examples, options, {
      ...quiet,
      evaluate: (values) => {
        const score = scores[seen.length]!;
        seen.push(values);
        return Promise.resolve({
          score,
          ranks: [{ rank: 8, metrics: { accuracy: score } }],
        });
      },
    });
    assertEquals(
      result.epochs.map(({ epoch, step, score }) => [epoch, step, score]),
      scores.map((score, i) => [i + 1, (i + 1) * stepsPerEpoch, score]),
    );
    assertSameBits(result.best, seen[1]);
    assertSameBits(result.values, seen[3]);
    assertNotEquals(result.best, result.values);

    const plain = await train(classifier, initial, examples, options, quiet);
    assertSameBits(plain.values, result.values);
    assertEquals([plain.best, plain.epochs], [undefined, []]);
  },
);

Deno.test(
  "train() with evaluated epochs gives the same when an epoch or an evaluation was interrupted",
  training,
  async () => {
    const { classifier, initial } = tinyClassifier();
    const whole = await trainEvaluated(classifier, initial, {});
    assertEquals(whole.epochs.length, tinyOptions.epochs);
    assert(whole.evaluationSeconds > 0 && whole.seconds > 0);

    const folder = await Deno.makeTempDir();
    const path = join(folder, "training.safetensors");
    const load = () => loadCheckpoint(path);
    for (
      const [place, step, epochs] of [
        ["step", 3, 0],
        ["evaluation", stepsPerEpoch, 0],
        ["step", 2 * stepsPerEpoch + 1, 2],
      ] as const
    ) {
      const interrupt = new AbortController();
      const stop = () => interrupt.abort(new Error("Interrupted"));
      await assertRejects(
        () =>
          trainEvaluated(classifier, initial, {
            resume: load(),
            signal: interrupt.signal,
            ...(place === "step" && { checkpointSeconds: 0 }),
            save: (state) => {
              saveCheckpoint(path, state);
              if (place === "step" && state.progress.step === step) stop();
            },
          }, () => place === "evaluation" && stop()),
        Error,
        "Interrupted",
      );
      const { progress, best } = load()!;
      assertEquals([progress.step, progress.epochs.length], [step, epochs]);
      assertEquals(best !== undefined, epochs > 0);
    }
    const resumed = await trainEvaluated(classifier, initial, {
      resume: load(),
    });
    assertSameBits([resumed.values, resumed.best, resumed.epochs], [
      whole.values,
      whole.best,
      whole.epochs,
    ]);
    await Deno.remove(folder, { recursive: true });
  },
);

/** Trains with each epoch scored by its accuracy at some ranks on other examples. */
async function trainEvaluated(
  classifier: Classifier,
  initial: Float32Array,
  hooks: Partial<TrainingHooks>,
  onEvaluation = () => {},
) {
  const held = tinyExamples(24);
  using evaluate = evaluator(classifier, {
    alpha: 16,
    scaling: "rank",
    batchSize: 8,
  });
  return await train(classifier, initial, examples, tinyOptions, {
    ...quiet,
    ...hooks,
    evaluate: async (values) => {
      onEvaluation();
      const { signal } = hooks;
      const given = signal ? { signal } : {};
      const logits = await evaluate(values, ranks, held, given);
      const accuracies = ranks.map((_, r) =>
        [...held.labels].filter((label, i) => {
          const at = (r * held.labels.length + i) * 2;
          return Number(logits[at + 1]! > logits[at]!) === label;
        }).length / held.labels.length
      );
      return {
        score: accuracies.reduce((sum, it) => sum + it) / ranks.length,
        ranks: ranks.map((rank, r) => ({
          rank,
          metrics: { accuracy: accuracies[r]! },
        })),
      };
    },
  });
}
