import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertThrows,
} from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { traced, training } from "../engine.ts";
import { rankScale } from "../../../lib/engine/adapters/scale.ts";
import type { ModelRanks } from "../../../lib/engine/models/pass_weights.ts";
import { trainingFlops } from "../../../lib/engine/models/outline.ts";
import { batchLoss } from "../../../lib/engine/ops/loss.ts";
import type { RankObjective } from "../../../lib/engine/schedules/schedule.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import {
  train,
  type TrainingHooks,
  type TrainingOptions,
} from "../../../lib/engine/training/train.ts";
import { logitsAt, lossAndGradient, ranksAt } from "../logits.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
  type Reference,
  referenceInput,
} from "../reference.ts";
import {
  batchRows,
  draw,
  optimizer,
  referenceAdapter,
  referenceLabels,
  settings,
  startState,
} from "../reference_step.ts";
import {
  loraObjective,
  matryoshkaObjective,
  resumedTraining,
  tinyClassifier,
  tinyExamples,
  tinyOptions,
} from "../tiny_task.ts";

const alpha: number = settings.alpha;
const maxRank: number = settings.rank;
const byRank = { rank: maxRank, alpha, scaling: "rank" } as const;

for (const architecture of ["roberta", "bert"] as const) {
  Deno.test(`the gradient of mean losses is the mean of the gradients at the single ranks, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const whole = await gradient(
      reference,
      matryoshkaObjective("losses", maxRank, alpha, [1, 3, 4]),
    );
    const sum = new Float32Array(whole.length);
    for (const rank of [1, 3, 4]) {
      const scale = rankScale(rank, byRank);
      const single = await gradient(reference, {
        ...loraObjective(maxRank, alpha),
        scale: () => scale,
      });
      single.forEach((value, at) => sum[at]! += value / 3);
    }
    assert(sum.some((value) => Math.abs(value) > 1e-2));
    assertClose(whole, sum, 1e-5, "gradient");
  });

  for (const eager of traced.ignore ? [true] : [true, false]) {
    Deno.test(`trainingStep() of mean losses has the mean of PEFT's losses at each rank, ${architecture}, ${eager ? "eager" : "traced"}`, async () => {
      const reference = openReference(architecture);
      const loss = await stepLoss(
        reference,
        matryoshkaObjective("losses", maxRank, alpha),
        eager,
      );
      const expected = [1, 2, 3, 4].reduce(
        (sum, rank) => sum + peftLoss(reference, `rank${rank}`) / 4,
        0,
      );
      assertClose([loss], [expected], 1e-5, "loss");
    });
  }

  Deno.test(`trainingStep() of mean outputs has the loss of the adapter with P in its columns, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { classifier, values } = referenceAdapter(reference);
    const loss = await stepLoss(
      reference,
      matryoshkaObjective("outputs", maxRank, alpha, [1, 2, 4]),
      false,
    );
    // By hand, of alpha 8 and ranks 1, 2, 4: row 1 is in all, row 2 in the last two, rows 3 and 4 in the last.
    const diagonal = [8 + 4 + 2, 4 + 2, 2, 2].map((sum) => sum / 3);
    const scaled = values.slice();
    for (
      const { isTransposed, offset, shape } of classifier.layout.entries
        .values()
    ) {
      if (!isTransposed) continue;
      const [rows, width] = shape as [number, number];
      for (let i = 0; i < rows * width; i++) {
        scaled[offset + i]! *= diagonal[Math.floor(i / width)]! /
          (alpha / maxRank);
      }
    }
    const logits = await logitsAt(
      classifier,
      scaled,
      referenceInput(reference, "padded"),
      ranksAt([maxRank], alpha, maxRank),
    );
    const labels = reference.figures.ints("labels2");
    assertClose(
      [loss],
      [meanCrossEntropy(logits, labels)],
      1e-5,
      "loss",
    );
  });
}

const objectives = ["losses", "outputs"] as const;

for (const objective of objectives) {
  const options: TrainingOptions = {
    ...tinyOptions,
    epochs: 2,
    objective: matryoshkaObjective(objective, 4, 16),
  };

  Deno.test(
    `train() of mean ${objective} gives the same bits when it was interrupted, and counts every rank`,
    training,
    async () => {
      const examples = tinyExamples(40);
      const { classifier, initial } = tinyClassifier(4);
      const run = (hooks: Partial<TrainingHooks> = {}) =>
        train(classifier, initial, examples, options, {
          report: () => {},
          ...hooks,
        });
      const whole = await run();
      const resumed = await resumedTraining(run);
      assertSameBits(resumed.values, whole.values);
      assertEquals(resumed.losses, whole.losses);

      const plain = await train(classifier, initial, examples, {
        ...options,
        objective: loraObjective(4, 16),
      }, { report: () => {} });
      const ranks = objective === "losses" ? 4 : 1;
      const ratio = trainingFlops(classifier, [8, 24], ranks) /
        trainingFlops(classifier, [8, 24]);
      assertAlmostEquals(whole.flops / plain.flops / ratio, 1, 0.02);
    },
  );
}

Deno.test("the scale of mean outputs is no larger than the largest scale in use", () => {
  const scale = matryoshkaObjective("outputs", 8, 16).scale(8);
  const largest = rankScale(1, { rank: 8, alpha: 16, scaling: "rank" })[0]!;
  assert(scale[0]! < largest);
  assertEquals(scale[7], 16 / 8 / 8);
});

Deno.test("Matryoshka refuses ranks that leave rows untrained", () => {
  const refuses = (ranks: number[], rank: number, message = "") =>
    void assertThrows(
      () => matryoshkaObjective("losses", rank, alpha, ranks),
      RangeError,
      message,
    );
  refuses(
    [1, 2, 4],
    8,
    "Ranks 1, 2, 4 must ascend and end with the adapter's rank 8",
  );
  refuses([2, 1, 4], 4);
  refuses([0, 4], 4);
});

async function gradient(
  reference: Reference,
  { scale, gradientMask, lossWeights }: RankObjective,
): Promise<Float32Array> {
  const { classifier, values } = referenceAdapter(reference);
  const ranks: ModelRanks = {
    scale: tf.tensor2d(scale(maxRank), [lossWeights.length, maxRank]),
    gradientMask: tf.tensor1d(gradientMask(maxRank)),
  };
  const labels = tf.tensor1d(referenceLabels(reference));
  const { gradient } = await lossAndGradient(
    classifier,
    values,
    referenceInput(reference, "padded"),
    ranks,
    (logits) => batchLoss("cross-entropy", logits, labels, lossWeights),
  );
  return gradient;
}

/** Loss of a step on the padded batch, before its update. */
async function stepLoss(
  reference: Reference,
  objective: RankObjective,
  eager: boolean,
): Promise<number> {
  const { classifier, values } = referenceAdapter(reference);
  const step = trainingStep(classifier, {
    objective,
    optimizer,
    loss: "cross-entropy",
    dropout: false,
    eager,
  });
  const state = startState(values);
  const result = step(
    state,
    [batchRows(reference, 0, 4)],
    draw(0, maxRank, 1e-3),
  );
  const [loss] = await read(result.loss);
  tf.dispose([
    ...Object.values(state),
    ...Object.values(result.state),
    result.loss,
  ]);
  step.dispose();
  return loss!;
}

/** Cross-entropy of the logits that PEFT computed. */
function peftLoss({ figures }: Reference, rank: string): number {
  return meanCrossEntropy(
    figures.floats(`lora.logits.${rank}`),
    figures.ints("labels2"),
  );
}

function meanCrossEntropy(logits: Float32Array, labels: Int32Array): number {
  const losses = Array.from(labels, (label, i) => {
    const row = [...logits.subarray(2 * i, 2 * i + 2)];
    return Math.log(row.reduce((sum, it) => sum + Math.exp(it), 0)) -
      row[label]!;
  });
  return losses.reduce((sum, it) => sum + it) / losses.length;
}
