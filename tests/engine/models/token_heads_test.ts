/** The heads for tokens beside transformers and PEFT (fixtures/references.py), in float32. */
import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { headTensors, withHead } from "../../../lib/engine/models/outline.ts";
import { fromTensors } from "../../../lib/engine/models/parameters.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { fixed } from "../../../lib/engine/schedules/fixed.ts";
import { trainingStep } from "../../../lib/engine/training/step.ts";
import "../engine.ts";
import { logitsAt, ranksAt } from "../logits.ts";
import {
  assertClose,
  fixture,
  openReference,
  read,
  referenceBatch,
  referenceInput,
  referenceNames,
} from "../reference.ts";
import { draw, optimizer, settings, startState } from "../reference_step.ts";

const { alpha, rank } = settings;

for (const name of referenceNames) {
  const reference = openReference(name);
  const figures = SafetensorsFile.open(
    fixture(`references/${name}-tokens.safetensors`),
  );
  const model = withHead(reference.model, "tokens");
  const classifier = loadClassifier(reference.file, model, 3, { rank });
  const valuesOf = (kind: string) =>
    fromTensors(
      (name) => figures.floats(`${kind}.${name}`),
      classifier.layout,
      "base_model.model.",
    );
  const values = valuesOf("adapter");
  const batch = referenceBatch(reference, "padded");
  const ignored = Array.from(
    figures.ints("labels"),
    (label) => label < 0 ? NaN : label,
  );

  Deno.test(`logitsOf() gives each token the logits of transformers, ${name}`, async () => {
    const logits = await logitsAt(
      classifier,
      values,
      referenceInput(reference, "padded"),
      ranksAt([rank], alpha, rank),
    );
    // Padding has no logits that mean anything.
    const shown = (all: Float32Array) =>
      all.filter((_, i) => batch.mask![Math.floor(i / 3)] === 1);
    assertClose(
      shown(logits),
      shown(figures.floats("logits")),
      1e-4,
      "logits",
    );
  });

  Deno.test(`trainingStep() has PEFT's loss of the labelled tokens and its gradients, ${name}`, async () => {
    using step = disposable(trainingStep(classifier, {
      objective: fixed.objective({}, { rank, alpha, scaling: "rank" }),
      loss: "cross-entropy",
      // The first moment is then a share of the gradient.
      optimizer: { ...optimizer, clipNorm: 1e9 },
      dropout: false,
    }));
    const { state, loss } = step.step(
      startState(values),
      [{ ...batch, labels: Float32Array.from(ignored), tokens: 1 }],
      draw(0, rank, 1e-3),
    );
    assertClose(await read(loss), figures.floats("loss"), 1e-5, "loss");
    assertClose(
      (await read(state.moment1)).map((it) => it / (1 - optimizer.beta1)),
      valuesOf("gradient"),
      2e-5,
      "gradient",
    );
    tf.dispose([loss, { ...state }]);
  });

  Deno.test(`headTensors() names the head for tokens as transformers does, and starts it anew but for ModernBERT's pretrained part, ${name}`, () => {
    const added = headTensors(model, 3).filter(({ start }) =>
      start !== "pretrained"
    );
    assertEquals(
      added.map(({ name, start }) => [name, start]).sort(),
      [...figures.tensors.keys()].flatMap((it) =>
        it.startsWith("head.")
          ? [[it.slice(5), it.endsWith("bias") ? "zeros" : "normal"]]
          : []
      ).sort(),
    );
  });
}

function disposable(step: ReturnType<typeof trainingStep>) {
  return { step, [Symbol.dispose]: () => step.dispose() };
}
