import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { traced, training } from "../engine.ts";
import { WITHOUT_ADAPTERS } from "../../../lib/engine/schedules/fixed.ts";
import { toTensors } from "../../../lib/engine/models/parameters.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { learningRateAt } from "../../../lib/engine/training/adamw.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import {
  train,
  type TrainingHooks,
  type TrainingOptions,
} from "../../../lib/engine/training/train.ts";
import {
  assertClose,
  assertSameBits,
  fixture,
  openReference,
  read,
} from "../reference.ts";
import {
  batchRows,
  draw,
  optimizer,
  settings,
  startState,
} from "../reference_step.ts";
import { resumedTraining, tinyExamples, tinyOptions } from "../tiny_task.ts";
import { fullClassifier, headClassifier } from "../without_adapters.ts";

for (const architecture of ["roberta", "bert"] as const) {
  const figures = SafetensorsFile.open(
    fixture(`references/${architecture}-full.safetensors`),
  );

  for (const eager of traced.ignore ? [true] : [true, false]) {
    Deno.test(`trainingStep() of all weights takes PyTorch's AdamW steps, ${architecture}, ${eager ? "eager" : "traced"}`, async () => {
      const reference = openReference(architecture);
      const { classifier, values } = fullClassifier(reference);
      const batches = [batchRows(reference, 0, 2), batchRows(reference, 2, 4)];
      const step = trainingStep(classifier, {
        objective: WITHOUT_ADAPTERS,
        optimizer,
        loss: "cross-entropy",
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
        const result = step(state, batches, draw(i, 0, learningRate));
        losses.push((await read(result.loss))[0]!);
        tf.dispose([...Object.values(state), result.loss]);
        state = result.state;
      }
      assertClose(losses, figures.floats("steps.loss"), 1e-5, "losses");
      const trained = toTensors(await read(state.values), classifier.layout);
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
  objective: WITHOUT_ADAPTERS,
  epochs: 2,
};

for (
  const [name, make] of Object.entries({
    "all weights": fullClassifier,
    "the head alone": headClassifier,
  })
) {
  Deno.test(
    `train() of ${name} gives the same bits twice, and when it was interrupted`,
    training,
    async () => {
      const examples = tinyExamples(40);
      const { classifier, values } = make(openReference("roberta"));
      const run = (hooks: Partial<TrainingHooks> = {}) =>
        train(classifier, values, examples, noAdapters, {
          report: () => {},
          ...hooks,
        });
      const whole = await run();
      assertSameBits((await run()).values, whole.values);

      const resumed = await resumedTraining(run);
      assertSameBits(resumed.values, whole.values);
      assertEquals(resumed.losses, whole.losses);
    },
  );
}

Deno.test(
  "trainingStep() of all weights, traced, equals eager bit for bit, with dropout",
  traced,
  async () => {
    const reference = openReference("roberta");
    const { classifier, values } = fullClassifier(reference);
    const batch = batchRows(reference, 0, 4);
    const results: Float32Array[] = [];
    for (const eager of [true, false]) {
      const step = trainingStep(classifier, {
        objective: WITHOUT_ADAPTERS,
        optimizer,
        loss: "cross-entropy",
        dropout: true,
        eager,
      });
      let state = startState(values);
      for (let i = 0; i < 3; i++) {
        const result = step(state, [batch], draw(i, 0, 1e-3));
        tf.dispose([...Object.values(state), result.loss]);
        state = result.state;
      }
      results.push(await read(state.values));
      tf.dispose(Object.values(state));
      step.dispose();
    }
    assertSameBits(results[1], results[0]);
  },
);
