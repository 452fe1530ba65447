import { assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import "../engine.ts";
import {
  type Classifier,
  logitsOf,
  splitParameters,
} from "../../../lib/engine/models/classifier.ts";
import { parameterLayout } from "../../../lib/engine/models/parameters.ts";
import { TensorPass } from "../../../lib/engine/models/tensor_pass.ts";
import { loadFrozen } from "../../../lib/engine/models/weights.ts";
import {
  assertClose,
  openReference,
  read,
  type Reference,
  referenceInput,
} from "../reference.ts";
import { noRanks, referenceHead } from "../without_adapters.ts";

const tolerance = 1e-4;

for (const architecture of ["roberta", "bert"] as const) {
  for (const batch of ["padded", "unpadded"] as const) {
    Deno.test(`TensorPass observes the hidden states of transformers for a ${batch} batch of ${architecture}`, async () => {
      const reference = openReference(architecture);
      const { figures, model } = reference;
      const { hidden } = forwardAllTokens(reference, batch, 2);
      for (const [layer, tensor] of hidden.entries()) {
        const name = `${batch}.hidden.${layer}`;
        assertClose(
          ...unpadded(
            reference,
            batch,
            await read(tensor),
            figures.floats(name),
          ),
          tolerance,
          name,
        );
      }
      // The embeddings' and each layer's.
      assertEquals(hidden.length, model.layers + 1);
    });

    for (const labels of [1, 2, 3]) {
      Deno.test(`logitsOf() gives the logits of transformers for a ${batch} batch of ${architecture} with ${labels} labels, whether all hidden states are computed or not`, async () => {
        const reference = openReference(architecture);
        const { classifier, parameters } = withHead(reference, labels, false);
        const input = referenceInput(reference, batch);
        const logits = tf.tidy(() =>
          logitsOf(classifier, parameters, input, noRanks(), undefined)
        );
        const { logits: ofAll } = forwardAllTokens(reference, batch, labels);
        for (const computed of [logits, ofAll]) {
          assertClose(
            await read(computed),
            reference.figures.floats(`${batch}.logits${labels}`),
            tolerance,
            "logits",
          );
        }
      });
    }
  }
}

/** A pass that computes all hidden states: those of the embeddings and of each layer, and the logits. */
function forwardAllTokens(
  reference: Reference,
  batch: "padded" | "unpadded",
  labels: number,
): { hidden: tf.Tensor[]; logits: tf.Tensor } {
  const { classifier: { model, ...classifier }, parameters } = withHead(
    reference,
    labels,
    true,
  );
  const hidden: tf.Tensor[] = [];
  const logits = tf.tidy(() =>
    model.forward(
      new TensorPass({
        ...classifier,
        parameters,
        input: referenceInput(reference, batch),
        ranks: noRanks(),
        observe: (x) => hidden.push(tf.keep(x)),
      }),
    ).value
  );
  return { hidden, logits };
}

/** A reference's frozen encoder with its head of this many labels. */
function withHead(
  reference: Reference,
  labels: number,
  allTokens: boolean,
): { classifier: Classifier; parameters: Record<string, tf.Tensor> } {
  const { model, file } = reference;
  const layout = parameterLayout(model, labels, "head");
  return {
    classifier: { model, layout, weights: loadFrozen(file, model, allTokens) },
    parameters: splitParameters(
      tf.tensor1d(referenceHead(reference, labels)),
      layout,
    ),
  };
}

/** Hidden states of real tokens only: those of padding are undefined. */
function unpadded(
  { figures, model }: Reference,
  batch: string,
  actual: Float32Array,
  expected: Float32Array,
): [Float32Array, Float32Array] {
  const mask = figures.ints(`${batch}.mask`);
  const keep = (states: Float32Array) =>
    states.filter((_, i) => mask[Math.floor(i / model.hidden)] === 1);
  return [keep(actual), keep(expected)];
}
