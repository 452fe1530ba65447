/** The language head beside transformers and PEFT (fixtures/references.py), in float32. */
import { assertEquals, assertThrows } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { existsSync } from "node:fs";
import { loadClassifier } from "../../../lib/engine/models/classifier.ts";
import { headTensors, withHead } from "../../../lib/engine/models/outline.ts";
import {
  fromTensors,
  startValues,
  type Trainable,
} from "../../../lib/engine/models/parameters.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import {
  fixed,
  WITHOUT_ADAPTERS,
} from "../../../lib/engine/schedules/fixed.ts";
import { evaluateRanks } from "../../../lib/engine/training/evaluation.ts";
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
const figuresOf = (name: string) =>
  fixture(`references/${name}-language.safetensors`);
const names = referenceNames.filter((name) => existsSync(figuresOf(name)));

Deno.test("the references of language heads are of all decoders, tied and not", () => {
  const models = names.map((name) => openReference(name).model);
  assertEquals(
    [...new Set(models.map((it) => it.architecture.type))].sort(),
    ["llama", "mistral", "qwen2", "qwen3"],
  );
  const areTied = models.map((it) =>
    !withHead(it, "language").tensors.has("lm_head.weight")
  );
  assertEquals([...new Set(areTied)].length, 2);
});

Deno.test("withHead() refuses a language head of an encoder", () => {
  assertThrows(
    () => withHead(openReference("bert").model, "language"),
    RangeError,
    "The model is a Bert, an encoder, which writes no text: choose a decoder, such as SmolLM or Qwen",
  );
});

for (const name of names) {
  const reference = openReference(name);
  const figures = SafetensorsFile.open(figuresOf(name));
  const model = withHead(reference.model, "language");
  const load = (trained: Trainable) =>
    loadClassifier(reference.file, model, 1, trained);
  const classifier = load({ rank });
  const valuesOf = (kind: string) =>
    fromTensors(
      (name) => figures.floats(`${kind}.${name}`),
      classifier.layout,
      "base_model.model.",
    );
  const { shape: [rows, seq], mask, ...padded } = referenceBatch(
    reference,
    "padded",
  );
  const given = figures.ints("labels");
  /** Transformers has the label of a token where it stands, we where it is predicted. */
  const labels = Float32Array.from(given, (_, i) => {
    const next = (i + 1) % seq === 0 ? -100 : given[i + 1]!;
    return next < 0 ? NaN : next;
  });
  const batch = { shape: [rows, seq] as [number, number], mask, ...padded };

  Deno.test(`logitsOf() gives the logits of transformers' language head, ${name}`, async () => {
    const logits = await logitsAt(
      classifier,
      new Float32Array(classifier.layout.size),
      referenceInput(reference, "padded"),
      ranksAt([rank], alpha, rank),
    );
    const size = model.vocabSize;
    const shown = (all: Float32Array) =>
      all.filter((_, i) => mask![Math.floor(i / size)] === 1);
    assertClose(shown(logits), shown(figures.floats("logits")), 1e-4, "logits");
  });

  /** Loss of the labels, and its gradient by all that is trained. */
  const stepOn = async (trained: Trainable, values: Float32Array) => {
    const classifier = load(trained);
    const step = trainingStep(classifier, {
      objective: trained === "all"
        ? WITHOUT_ADAPTERS
        : fixed.objective({}, { rank, alpha, scaling: "rank" }),
      loss: "next-token",
      // The first moment is then a share of the gradient.
      optimizer: { ...optimizer, clipNorm: 1e9 },
      dropout: false,
    });
    try {
      const { state, loss } = step(
        startState(values),
        [{ ...batch, labels, tokens: 1 }],
        draw(0, trained === "all" ? 0 : rank, 1e-3),
      );
      const gradient = (await read(state.moment1))
        .map((it) => it / (1 - optimizer.beta1));
      const [value] = await read(loss);
      tf.dispose([loss, { ...state }]);
      return { loss: value!, gradient, layout: classifier.layout };
    } finally {
      step.dispose();
    }
  };

  Deno.test(`trainingStep() has PEFT's loss of the tokens to write and its gradients, ${name}`, async () => {
    const { loss, gradient } = await stepOn({ rank }, valuesOf("adapter"));
    assertClose([loss], figures.floats("loss"), 1e-5, "loss");
    assertClose(gradient, valuesOf("gradient"), 2e-5, "gradient");
  });

  Deno.test(`trainingStep() trains the table of the language head with all weights, ${name}`, async () => {
    const shape = { model, layout: load("all").layout };
    const { gradient, layout } = await stepOn(
      "all",
      startValues(reference.file, shape, 0),
    );
    const own = layout.entries.get("lm_head.weight") ??
      layout.entries.get("model.embed_tokens.weight")!;
    const size = own.shape[0]! * own.shape[1]!;
    assertClose(
      gradient.subarray(own.offset, own.offset + size),
      figures.floats("table"),
      2e-5,
      "gradient",
    );
  });

  Deno.test(`evaluateRanks() gives transformers' loss of each token, ${name}`, async () => {
    const { ids, shape: [rows, seq] } = referenceBatch(reference, "unpadded");
    const places = Array.from({ length: rows }, (_, i) => i);
    const tokens = Array.from({ length: seq - 1 }, (_, i) => i);
    const losses = await evaluateRanks(
      classifier,
      valuesOf("adapter").fill(0),
      {
        ids,
        types: new Uint8Array(ids.length),
        offsets: Int32Array.from([...places, rows], (i) => i * seq),
        index: Int32Array.from(places),
        labels: Float32Array.from(
          places.flatMap((row) => tokens.map((i) => ids[row * seq + i + 1]!)),
        ),
        words: {
          offsets: Int32Array.from([...places, rows], (i) => i * (seq - 1)),
          tokens: Int32Array.from(places.flatMap(() => tokens)),
          numbers: Int32Array.from(places.flatMap(() => tokens)),
        },
      },
      { alpha, scaling: "rank", ranks: [1, rank], batchSize: 8 },
    );
    const ofRank = losses.length / 2;
    assertEquals(ofRank, rows * (seq - 1));
    for (const own of [losses.subarray(0, ofRank), losses.subarray(ofRank)]) {
      assertClose(
        [own.reduce((sum, it) => sum + it, 0) / ofRank],
        figures.floats("unpadded.loss"),
        1e-5,
        "loss",
      );
    }
  });

  Deno.test(`headTensors() has nothing to train of a language head, ${name}`, () => {
    assertEquals(headTensors(model), []);
  });
}
