import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import "./engine.ts";
import {
  type Checkpoint,
  loadCheckpoint,
  saveCheckpoint,
} from "../../lib/engine/training/checkpoint.ts";
import { type Classifier, logitsOf } from "../../lib/engine/classifier.ts";
import {
  fromClassifierTensors,
  toClassifierTensors,
} from "../../lib/engine/fine_tuning/classifier_tensors.ts";
import type { RankVectors } from "../../lib/engine/ops/adapted_linear.ts";
import { crossEntropy } from "../../lib/engine/ops/loss.ts";
import {
  initialParameters,
  joinParameters,
  parameterLayout,
  splitParameters,
} from "../../lib/engine/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { learningRateAt } from "../../lib/engine/training/schedule.ts";
import { train } from "../../lib/engine/training/train.ts";
import type { TrainingOptions } from "../../lib/engine/training/options.ts";
import { trainingStep } from "../../lib/engine/training/step.ts";
import {
  assertClose,
  assertSameBits,
  fixture,
  openReference,
  read,
  referenceInput,
} from "./reference.ts";
import {
  batchRows,
  draw,
  optimizer,
  settings,
  startState,
} from "./reference_step.ts";
import { tinyExamples, tinyOptions } from "./tiny_task.ts";
import { fullClassifier, headClassifier, noRanks } from "./without_adapters.ts";

for (const architecture of ["roberta", "bert"] as const) {
  const figures = SafetensorsFile.open(
    fixture(`references/${architecture}-full.safetensors`),
  );

  for (const name of ["padded", "unpadded"] as const) {
    Deno.test(`logitsOf() with all weights trained gives transformers' logits, ${architecture}, ${name}`, async () => {
      const reference = openReference(architecture);
      const { classifier, values } = fullClassifier(reference);
      const logits = tf.tidy(() =>
        logitsOf(
          classifier,
          splitParameters(tf.tensor1d(values), classifier.layout),
          referenceInput(reference, name),
          noRanks(),
          undefined,
        )
      );
      const expected = reference.figures.floats(`${name}.logits2`);
      assertClose(await read(logits), expected, 1e-4, "logits");
    });
  }

  Deno.test(`logitsOf() has PyTorch's gradient of every weight, ${architecture}`, async () => {
    const reference = openReference(architecture);
    const { classifier, values } = fullClassifier(reference);
    const { layout } = classifier;
    const input = referenceInput(reference, "padded");
    const labels = tf.tensor1d(
      Float32Array.from(reference.figures.ints("labels2")),
    );
    const { value, grads } = tf.valueAndGrads((...parts: tf.Tensor[]) =>
      crossEntropy(
        logitsOf(classifier, parts, input, noRanks(), undefined),
        labels,
      )
    )(splitParameters(tf.tensor1d(values), layout));
    assertClose(
      await read(value),
      reference.figures.floats("loss2"),
      1e-5,
      "loss",
    );
    const expected = fromClassifierTensors(
      (name) => figures.floats(`gradient.${name}`),
      layout,
      architecture,
    );
    assertClose(await read(joinParameters(grads)), expected, 1e-5, "gradient");
  });

  for (const eager of [true, false]) {
    Deno.test(`trainingStep() of all weights takes PyTorch's AdamW steps, ${architecture}, ${eager ? "eager" : "traced"}`, async () => {
      const reference = openReference(architecture);
      const { classifier, values } = fullClassifier(reference);
      const batches = [batchRows(reference, 0, 2), batchRows(reference, 2, 4)];
      const step = trainingStep(classifier, {
        alpha: 1,
        mode: "all",
        optimizer,
        dropout: false,
        eager,
      });
      const losses: number[] = [];
      let state = startState(values);
      let farthest = 0;
      for (let i = 0; i < 3; i++) {
        const learningRate = learningRateAt(i, {
          learningRate: settings.learning_rate / 10,
          steps: settings.total_steps,
          warmupRatio: settings.warmup_steps / settings.total_steps,
        });
        farthest += learningRate;
        const result = step(state, batches, draw(i, 0, learningRate, 0));
        losses.push((await read(result.loss))[0]!);
        tf.dispose([...Object.values(state), result.loss]);
        state = result.state;
      }
      assertClose(losses, figures.floats("steps.loss"), 1e-5, "losses");
      const trained = toClassifierTensors(
        await read(state.values),
        classifier.layout,
        architecture,
      );
      for (const [name, { values }] of Object.entries(trained)) {
        const expected = figures.floats(`steps.${name}`);
        if (!name.endsWith("key.bias")) {
          assertClose(values as Float32Array, expected, 1e-4, name);
          continue;
        }
        // Softmax does not see the bias of keys: its gradient is rounding alone,
        // which AdamW divides by its own size into steps of about the learning rate,
        // up or down.
        const gradient = figures.floats(`gradient.${name}`);
        assertClose(gradient, new Float32Array(gradient.length), 1e-8, name);
        assertClose(values as Float32Array, expected, 2 * farthest, name);
      }
      tf.dispose(Object.values(state));
      step.dispose();
    });
  }
}

const noAdapters: TrainingOptions = {
  ...tinyOptions,
  sampler: { kind: "list", ranks: [0] },
  epochs: 2,
};

for (
  const [name, make] of Object.entries({
    "all weights": fullClassifier,
    "the head alone": headClassifier,
  })
) {
  Deno.test(`train() of ${name} gives the same bits twice, and when it was interrupted`, async () => {
    const examples = tinyExamples(40);
    const { classifier, values } = make(openReference("roberta"));
    const run = (resume?: Checkpoint, hooks = {}) =>
      train(classifier, values, examples, noAdapters, {
        report: () => {},
        resume,
        ...hooks,
      });
    const whole = await run();
    assertSameBits((await run()).values, whole.values);

    const folder = await Deno.makeTempDir();
    const path = join(folder, "training.safetensors");
    const interrupt = new AbortController();
    let saves = 0;
    await assertRejects(
      () =>
        run(undefined, {
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
    const resumed = await run(loadCheckpoint(path, classifier.layout.size));
    assertSameBits(resumed.values, whole.values);
    assertEquals(resumed.losses, whole.losses);
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test("trainingStep() of all weights, traced, equals eager bit for bit, with dropout", async () => {
  const reference = openReference("roberta");
  const { classifier, values } = fullClassifier(reference);
  const batch = batchRows(reference, 0, 4);
  const results: Float32Array[] = [];
  for (const eager of [true, false]) {
    const step = trainingStep(classifier, {
      alpha: 1,
      mode: "all",
      optimizer,
      dropout: true,
      eager,
    });
    let state = startState(values);
    for (let i = 0; i < 3; i++) {
      const result = step(state, [batch], draw(i, 0, 1e-3, 0));
      tf.dispose([...Object.values(state), result.loss]);
      state = result.state;
    }
    results.push(await read(state.values));
    tf.dispose(Object.values(state));
    step.dispose();
  }
  assertSameBits(results[1], results[0]);
});

Deno.test("trainingStep() of the head alone has the head's gradient of LoRA before its first step", async () => {
  const reference = openReference("roberta");
  const { classifier } = headClassifier(reference);
  const { config, weights } = classifier;
  const layout = parameterLayout(config, 2, 2);
  const lora = initialParameters(layout, undefined, seededRandom(0, "init"));
  const input = referenceInput(reference, "padded");
  const labels = tf.tensor1d(
    Float32Array.from(reference.figures.ints("labels2")),
  );
  const ranks = { scale: tf.ones([1, 2]), trained: tf.ones([2]) };
  const gradientOf = async (
    of: Classifier,
    values: Float32Array,
    at: RankVectors,
  ) => {
    const { grads } = tf.valueAndGrads((...parts: tf.Tensor[]) =>
      crossEntropy(logitsOf(of, parts, input, at, undefined), labels)
    )(splitParameters(tf.tensor1d(values), of.layout));
    return await read(joinParameters(grads));
  };
  const head = lora.slice(layout.adapterSize);
  assertClose(
    await gradientOf(classifier, head, noRanks()),
    (await gradientOf(
      { config, weights, layout },
      lora,
      ranks as RankVectors,
    )).slice(layout.adapterSize),
    1e-6,
    "gradient of the head",
  );
});
