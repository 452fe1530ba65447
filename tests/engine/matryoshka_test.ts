import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertIsError,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "./engine.ts";
import { batchLoss } from "../../lib/engine/training/batch_loss.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../lib/engine/training/checkpoint.ts";
import { type Classifier, logitsOf } from "../../lib/engine/classifier.ts";
import { trainingFlops } from "../../lib/engine/flops.ts";
import {
  lossShares,
  type Matryoshka,
  matryoshka,
  matryoshkaScale,
} from "../../lib/engine/ranks/matryoshka.ts";
import {
  joinParameters,
  parameterLayout,
  splitParameters,
} from "../../lib/engine/parameters.ts";
import { fromPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import { rankScale } from "../../lib/engine/ranks/rank_vectors.ts";
import { train } from "../../lib/engine/training/train.ts";
import type { TrainingOptions } from "../../lib/engine/training/options.ts";
import { trainingStep } from "../../lib/engine/training/step.ts";
import { loadEncoder } from "../../lib/engine/weights.ts";
import {
  assertClose,
  assertSameBits,
  openReference,
  read,
  type Reference,
  referenceInput,
} from "./reference.ts";
import {
  batchRows,
  draw,
  optimizer,
  settings,
  startState,
} from "./reference_step.ts";
import { tinyClassifier, tinyExamples, tinyOptions } from "./tiny_task.ts";

const alpha: number = settings.alpha;
const maxRank: number = settings.rank;

for (const architecture of ["roberta", "bert"] as const) {
  Deno.test(`the gradient of weighted losses is the weighted sum of those of each rank by itself, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { classifier, values } = referenceAdapter(reference);
    const weights = [3, 1, 2];
    const whole = await gradient(
      reference,
      classifier,
      values,
      matryoshka("losses", maxRank, [1, 3, 4], weights),
    );
    const sum = new Float32Array(values.length);
    for (const [i, rank] of [1, 3, 4].entries()) {
      const single = await gradient(
        reference,
        classifier,
        values,
        { objective: "losses", ranks: [rank], weights: [1] },
      );
      single.forEach((value, at) => sum[at]! += weights[i]! / 6 * value);
    }
    assert(sum.some((value) => Math.abs(value) > 1e-2));
    assertClose(whole, sum, 1e-5, "gradient");
  });

  for (const eager of [true, false]) {
    Deno.test(`trainingStep() of weighted losses has the weighted mean of PEFT's losses at each rank, ${architecture}, ${eager ? "eager" : "traced"}`, async () => {
      const reference = openReference(architecture);
      const weights = [1, 2, 3, 4];
      const loss = await stepLoss(
        reference,
        matryoshka("losses", maxRank, undefined, weights),
        eager,
      );
      const expected = weights.reduce(
        (sum, weight, i) =>
          sum + weight / 10 * peftLoss(reference, `rank${i + 1}`),
        0,
      );
      assertClose([loss], [expected], 1e-5, "loss");
    });
  }

  Deno.test(`trainingStep() of weighted outputs has the loss of the adapter with P in its columns, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { classifier, values } = referenceAdapter(reference);
    const loss = await stepLoss(
      reference,
      matryoshka("outputs", maxRank, [1, 2, 4]),
      false,
    );
    // By hand, of alpha 8 and ranks 1, 2, 4: row 1 is in all, row 2 in the last two, rows 3 and 4 in the last.
    const diagonal = [8 + 4 + 2, 4 + 2, 2, 2].map((sum) => sum / 3);
    const { layers, hidden } = classifier.layout;
    const scaled = values.slice();
    for (let layer = 0; layer < layers; layer++) {
      for (const part of [1, 3]) {
        for (let row = 0; row < maxRank; row++) {
          const start = ((layer * 4 + part) * maxRank + row) * hidden;
          for (let i = start; i < start + hidden; i++) {
            scaled[i]! *= diagonal[row]! / (alpha / maxRank);
          }
        }
      }
    }
    const logits = tf.tidy(() =>
      logitsOf(
        classifier,
        splitParameters(tf.tensor1d(scaled), classifier.layout),
        referenceInput(reference, "padded"),
        {
          scale: tf.tensor2d(rankScale(maxRank, alpha, maxRank), [1, maxRank]),
          trained: tf.ones([maxRank]) as tf.Tensor1D,
        },
        undefined,
      )
    );
    const labels = reference.figures.ints("labels2");
    assertClose(
      [loss],
      [meanCrossEntropy(await read(logits), labels)],
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
    sampler: { kind: "list", ranks: [4] },
    matryoshka: matryoshka(objective, 4),
  };

  Deno.test(`train() of weighted ${objective} gives the same bits when it was interrupted, and counts every rank`, async () => {
    const examples = tinyExamples(40);
    const { classifier, initial } = tinyClassifier(4);
    const run = (hooks = {}) =>
      train(classifier, initial, examples, options, {
        report: () => {},
        ...hooks,
      });
    const whole = await run();
    const folder = await Deno.makeTempDir();
    const path = join(folder, "training.safetensors");
    const interrupt = new AbortController();
    let saves = 0;
    await assertRejects(
      () =>
        run({
          signal: interrupt.signal,
          checkpointSeconds: 0,
          save: (checkpoint: Checkpoint) => {
            saveCheckpoint(path, checkpoint);
            if (++saves === 3) interrupt.abort(new Error("Interrupted"));
          },
        }),
      Error,
      "Interrupted",
    );
    const resumed = await run({
      resume: loadCheckpoint(path, classifier.layout.size),
    });
    await Deno.remove(folder, { recursive: true });
    assertSameBits(resumed.values, whole.values);
    assertEquals(resumed.losses, whole.losses);

    const { matryoshka: _, ...lora } = options;
    const plain = await train(classifier, initial, examples, lora, {
      report: () => {},
    });
    const groups = objective === "losses" ? 4 : 1;
    const ratio = trainingFlops(classifier, [8, 24], groups) /
      trainingFlops(classifier, [8, 24]);
    assertAlmostEquals(whole.flops / plain.flops / ratio, 1, 0.02);
  });
}

Deno.test("matryoshkaScale() of outputs is no larger than the largest scale in use, and the same for weights in the same proportion", () => {
  const scale = (weights?: readonly number[]) => [
    ...matryoshkaScale(matryoshka("outputs", 8, undefined, weights), 16, 8),
  ];
  const even = scale();
  assert(even[0]! < rankScale(1, 16, 8)[0]!);
  assertEquals(even[7], 16 / 8 / 8);
  assertClose(scale(even.map(() => 8)), even, 1e-6, "scale");
});

Deno.test("matryoshka() refuses ranks that leave rows untrained, and weights that are not theirs", () => {
  assertIsError(
    assertThrows(() => matryoshka("losses", 8, [1, 2, 4])),
    Error,
    /1, 2, 4, must ascend .* to the adapter's rank 8/,
  );
  assertThrows(() => matryoshka("losses", 4, [2, 1, 4]), RangeError);
  assertThrows(() => matryoshka("losses", 4, [0, 4]), RangeError);
  assertThrows(
    () => matryoshka("outputs", 4, [2, 4], [1]),
    Error,
    "positive weight for each of 2 ranks, not 1",
  );
  assertEquals(matryoshka("losses", 3).ranks, [1, 2, 3]);
});

async function gradient(
  reference: Reference,
  classifier: Classifier,
  values: Float32Array,
  objective: Matryoshka,
): Promise<Float32Array> {
  const input = referenceInput(reference, "padded");
  const labels = tf.tensor1d(
    Float32Array.from(reference.figures.ints("labels2")),
  );
  const scale = matryoshkaScale(objective, alpha, maxRank);
  const ranks = {
    scale: tf.tensor2d(scale, [scale.length / maxRank, maxRank]),
    trained: tf.ones([maxRank]) as tf.Tensor1D,
  };
  const { grads } = tf.valueAndGrads((...parts: tf.Tensor[]) =>
    batchLoss(
      logitsOf(classifier, parts, input, ranks, undefined),
      labels,
      lossShares(objective),
    )
  )(splitParameters(tf.tensor1d(values), classifier.layout));
  return await read(joinParameters(grads));
}

/** Loss of a step on the padded batch, before its update. */
async function stepLoss(
  reference: Reference,
  objective: Matryoshka,
  eager: boolean,
): Promise<number> {
  const { classifier, values } = referenceAdapter(reference);
  const step = trainingStep(classifier, {
    alpha,
    mode: "all",
    matryoshka: objective,
    optimizer,
    dropout: false,
    eager,
  });
  const state = startState(values);
  const result = step(
    state,
    [batchRows(reference, 0, 4)],
    draw(0, maxRank, 1e-3, maxRank),
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

function referenceAdapter({ config, model, figures }: Reference) {
  const layout = parameterLayout(config, maxRank, 2);
  const values = fromPeftTensors(
    (name) => figures.floats(`adapter.${name}`),
    layout,
    config.architecture,
  );
  const weights = loadEncoder(model, config, { pooledLast: true });
  return { classifier: { config, weights, layout }, values };
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
