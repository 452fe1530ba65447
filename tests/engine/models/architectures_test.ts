/** Every architecture beside transformers and PEFT (fixtures/references.py), in float32. */
import { assert, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { engineName, tensorflow } from "../engine.ts";
import { LORA_A, LORA_B } from "../../../lib/engine/adapters/lora.ts";
import {
  type Classifier,
  loadClassifier,
  logitsOf,
  splitParameters,
} from "../../../lib/engine/models/classifier.ts";
import {
  fromTensors,
  parameterLayout,
  startValues,
} from "../../../lib/engine/models/parameters.ts";
import { forward } from "../../../lib/engine/models/model.ts";
import { ARCHITECTURES } from "../../../lib/engine/models/registry.ts";
import { ObservedPass } from "./observed_pass.ts";
import { loadFrozen } from "../../../lib/engine/models/pass_weights.ts";
import {
  elementCount,
  SafetensorsFile,
} from "../../../lib/engine/safetensors/reader.ts";
import { assertProfiledFlops } from "../flops.ts";
import { logitsAt, lossAndGradient, ranksAt } from "../logits.ts";
import {
  assertClose,
  fixture,
  openReference,
  read,
  type Reference,
  referenceInput,
  referenceNames,
} from "../reference.ts";
import {
  referenceAdapter,
  referenceLoss,
  settings,
} from "../reference_step.ts";
import { fullClassifier, noRanks, referenceHead } from "../without_adapters.ts";

const { alpha, rank: maxRank } = settings;
const everyRank = [1, 2, 3, 4];
/** Of hidden states and logits. */
const tolerance = 1e-4;
/** Of losses and gradients. */
const gradientTolerance = 1e-5;

Deno.test("every architecture has a reference", () => {
  const types = referenceNames.map((name) =>
    openReference(name).model.architecture.type
  );
  assertEquals(
    new Set(types),
    new Set(ARCHITECTURES.map(({ type }) => type)),
  );
});

/** On WebGPU in software, those alone that have operations of their own. */
const names = engineName === "webgpu"
  ? referenceNames.filter((name) =>
    ["bert", "deberta", "llama", "modernbert", "mpnet"].includes(name)
  )
  : referenceNames;

for (const name of names) {
  const reference = openReference(name);
  const { figures, model } = reference;

  for (const batch of ["padded", "unpadded"] as const) {
    Deno.test(`TensorPass has the hidden states of transformers, ${name}, ${batch}`, async () => {
      const { hidden } = forwardAllTokens(reference, batch, 2);
      // The embeddings' and each layer's.
      assertEquals(hidden.length, model.layers + 1);
      for (const [layer, tensor] of hidden.entries()) {
        const name = `${batch}.hidden.${layer}`;
        assertClose(
          withoutPadding(reference, batch, await read(tensor)),
          withoutPadding(reference, batch, figures.floats(name)),
          tolerance,
          name,
        );
      }
    });

    Deno.test(`logitsOf() gives the logits of transformers, whether all hidden states are computed or not, ${name}, ${batch}`, async () => {
      for (const labels of [1, 2, 3]) {
        const { classifier } = withHead(reference, labels);
        const logits = await logitsAt(
          classifier,
          referenceHead(reference, labels),
          referenceInput(reference, batch),
          noRanks(),
        );
        const ofAll = forwardAllTokens(reference, batch, labels).logits;
        const expected = figures.floats(`${batch}.logits${labels}`);
        assertClose(logits, expected, tolerance, `${labels} logits`);
        const beside = `${labels} logits beside all hidden states`;
        assertClose(logits, await read(ofAll), 2e-6, beside);
      }
    });

    Deno.test(`logitsOf() with all weights trained gives the logits of transformers, ${name}, ${batch}`, async () => {
      const { classifier, values } = fullClassifier(reference);
      const logits = await logitsAt(
        classifier,
        values,
        referenceInput(reference, batch),
        noRanks(),
      );
      const expected = figures.floats(`${batch}.logits2`);
      assertClose(logits, expected, tolerance, "logits");
    });
  }

  for (const chunks of [1, 3]) {
    const split = chunks === 1 ? "" : `, tokens in ${chunks} chunks`;
    Deno.test(`logitsOf() gives PEFT's logits at every rank in one pass, ${name}${split}`, async () => {
      const { classifier, values } = referenceAdapter(reference);
      const logits = await logitsAt(
        classifier,
        values,
        referenceInput(reference, "padded"),
        ranksAt(everyRank, alpha, maxRank),
        chunks,
      );
      const expected = everyRank.flatMap((b) => [
        ...figures.floats(`lora.logits.rank${b}`),
      ]);
      assertClose(logits, expected, tolerance, "logits");
    });

    Deno.test(`logitsOf() has PEFT's gradients, ${name}${split}`, async () => {
      const { classifier, values } = referenceAdapter(reference);
      const input = referenceInput(reference, "padded");
      const ranks = ranksAt([maxRank], alpha, maxRank);
      const { loss, gradient } = await lossAndGradient(
        classifier,
        values,
        input,
        ranks,
        referenceLoss(reference),
        (parameters) =>
          logitsOf(classifier, parameters, input, ranks, { chunks }),
      );
      assertClose(
        [loss],
        figures.floats("lora.loss"),
        gradientTolerance,
        "loss",
      );
      const expected = fromTensors(
        (name) => figures.floats(`lora.gradient.${name}`),
        classifier.layout,
        "base_model.model.",
      );
      assertClose(gradient, expected, gradientTolerance, "gradient");
    });
  }

  Deno.test(`logitsOf() with all weights trained has PyTorch's gradients, ${name}`, async () => {
    using full = SafetensorsFile.open(
      fixture(`references/${name}-full.safetensors`),
    );
    const { classifier, values } = fullClassifier(reference);
    const { loss, gradient } = await lossAndGradient(
      classifier,
      values,
      referenceInput(reference, "padded"),
      noRanks(),
      referenceLoss(reference),
    );
    assertClose([loss], figures.floats("loss2"), gradientTolerance, "loss");
    const names = [...full.tensors.keys()]
      .filter((name) => name.startsWith("gradient."));
    for (const name of names) {
      const { offset, shape } = classifier.layout.entries.get(
        name.slice("gradient.".length),
      )!;
      assertClose(
        gradient.subarray(offset, offset + elementCount(shape)),
        full.floats(name),
        gradientTolerance,
        name,
      );
    }
    assert(names.length > 0);
  });

  Deno.test(`adapters on all linear modules have the gradients that those of the weights give, ${name}`, async () => {
    const [rank, scale] = [2, 2];
    const input = referenceInput(reference, "padded");
    const full = fullClassifier(reference);
    const ofWeights = await lossAndGradient(
      full.classifier,
      full.values,
      input,
      noRanks(),
      referenceLoss(reference),
    );
    const { file } = reference;
    const classifier = loadClassifier(file, model, 2, {
      rank,
      targetModules: "all-linear",
    });
    const { layout } = classifier;
    const values = startValues(file, classifier, 0);
    const head = referenceHead(reference, 2);
    values.set(head, layout.size - head.length);
    const { gradient } = await lossAndGradient(
      classifier,
      values,
      input,
      ranksAt([rank], scale * rank, rank),
      referenceLoss(reference),
    );
    // W + s B A with B = 0: the gradient of A is 0, and that of B is s dW A^T.
    for (const { name, inputs, outputs } of layout.modules) {
      const weight = offsetOf(full.classifier, `${name}.weight`);
      const a = offsetOf(classifier, `${name}.${LORA_A}`);
      const b = offsetOf(classifier, `${name}.${LORA_B}`);
      const expected = Float64Array.from({ length: rank * outputs }, (_, i) => {
        const [row, out] = [Math.floor(i / outputs), i % outputs];
        let sum = 0;
        for (let j = 0; j < inputs; j++) {
          sum += ofWeights.gradient[weight + out * inputs + j]! *
            values[a + row * inputs + j]!;
        }
        return scale * sum;
      });
      assertClose(
        gradient.subarray(b, b + rank * outputs),
        expected,
        gradientTolerance,
        name,
      );
      assert(gradient.subarray(a, a + rank * inputs).every((it) => it === 0));
    }
  });

  Deno.test(
    `forwardFlops() and trainingFlops() count the products that the engine computes, ${name}`,
    { ignore: tensorflow === undefined },
    async () => {
      const { classifier, values } = referenceAdapter(reference);
      for (const ranks of [[1], [1, 2, 3]]) {
        await assertProfiledFlops(
          reference,
          classifier,
          values,
          ranksAt(ranks, alpha, maxRank),
        );
      }
      const all = fullClassifier(reference);
      await assertProfiledFlops(
        reference,
        all.classifier,
        all.values,
        noRanks(),
      );
    },
  );
}

/** A pass that computes all hidden states: those of the embeddings and of each layer, and the logits. */
function forwardAllTokens(
  reference: Reference,
  batch: "padded" | "unpadded",
  labels: number,
): { hidden: tf.Tensor[]; logits: tf.Tensor } {
  const { classifier, parameters } = withHead(reference, labels);
  const hidden: tf.Tensor[] = [];
  const logits = tf.tidy(() =>
    forward(
      classifier.model,
      new ObservedPass({
        ...classifier,
        parameters,
        input: referenceInput(reference, batch),
        ranks: noRanks(),
      }, (x) => hidden.push(tf.keep(x))),
      labels,
    ).value
  );
  return { hidden, logits };
}

/** A reference's frozen encoder with its head of this many labels. */
function withHead(
  reference: Reference,
  labels: number,
): { classifier: Classifier; parameters: Record<string, tf.Tensor> } {
  const { model, file } = reference;
  const layout = parameterLayout(model, labels, "head");
  return {
    classifier: { model, layout, weights: loadFrozen(file, model) },
    parameters: splitParameters(
      tf.tensor1d(referenceHead(reference, labels)),
      layout,
    ),
  };
}

/** Hidden states of real tokens only: those of padding are undefined. */
function withoutPadding(
  { figures }: Reference,
  batch: string,
  states: Float32Array,
): Float32Array {
  const mask = figures.ints(`${batch}.mask`);
  // The embeddings of some are narrower than the layers.
  const width = states.length / mask.length;
  return states.filter((_, i) => mask[Math.floor(i / width)] === 1);
}

function offsetOf({ layout }: Classifier, name: string): number {
  return layout.entries.get(name)!.offset;
}
