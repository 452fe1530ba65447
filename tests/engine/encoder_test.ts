import * as tf from "@tensorflow/tfjs-core";
import "./engine.ts";
import { encode } from "../../lib/engine/encoder.ts";
import { classify } from "../../lib/engine/head.ts";
import { firstPositions } from "../../lib/engine/encoder.ts";
import type { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { loadEncoder, loadPooler } from "../../lib/engine/weights.ts";
import {
  assertClose,
  openReference,
  type Reference,
  referenceInput,
} from "./reference.ts";

const tolerance = 1e-4;

for (const architecture of ["roberta", "bert"] as const) {
  for (const batch of ["padded", "unpadded"] as const) {
    Deno.test(`encode() gives the hidden states of transformers for a ${batch} batch of ${architecture}`, async () => {
      const reference = openReference(architecture);
      const { config, model, figures } = reference;
      const weights = loadEncoder(model, config, { pooledLast: false });
      const input = referenceInput(reference, batch);
      const hidden: tf.Tensor[] = [];
      tf.tidy(() =>
        void encode(weights, config, input, {
          observe: (x) => hidden.push(tf.keep(x)),
        })
      );
      for (const [layer, tensor] of hidden.entries()) {
        const states = await tensor.data() as Float32Array;
        const name = `${batch}.hidden.${layer}`;
        assertClose(
          ...unpadded(reference, batch, states, figures.floats(name)),
          tolerance,
          name,
        );
      }
    });

    for (const labels of [1, 2, 3]) {
      Deno.test(`classify() gives the logits of transformers for a ${batch} batch of ${architecture} with ${labels} labels`, async () => {
        const reference = openReference(architecture);
        const { config, model, figures } = reference;
        const input = referenceInput(reference, batch);
        for (const pooledLast of [true, false]) {
          const weights = loadEncoder(model, config, { pooledLast });
          const logits = await tf.tidy(() => {
            const x = encode(weights, config, input);
            const pooled = pooledLast
              ? x
              : firstPositions(x, input.ids.shape[1]);
            return classify(
              pooled,
              referenceHead(reference, labels),
              config,
              undefined,
            );
          }).data();
          assertClose(
            logits,
            figures.floats(`${batch}.logits${labels}`),
            tolerance,
            "logits",
          );
        }
      });
    }
  }
}

/** Hidden states of real tokens only: what padding computes is nobody's business. */
function unpadded(
  { figures, config }: Reference,
  batch: string,
  actual: Float32Array,
  expected: Float32Array,
): [Float32Array, Float32Array] {
  const mask = figures.ints(`${batch}.mask`);
  const keep = (states: Float32Array) =>
    states.filter((_, i) => mask[Math.floor(i / config.hidden)] === 1);
  return [keep(actual), keep(expected)];
}

function referenceHead({ config, model, figures }: Reference, labels: number) {
  const { hidden } = config;
  const out = config.architecture === "roberta"
    ? "classifier.out_proj"
    : "classifier";
  const dense = config.architecture === "roberta"
    ? denseOf(figures)
    : loadPooler(model, config);
  return {
    denseWeight: tf.tensor2d(dense.weight, [hidden, hidden]),
    denseBias: tf.tensor1d(dense.bias),
    outWeight: tf.tensor2d(figures.floats(`head${labels}.${out}.weight`), [
      labels,
      hidden,
    ]),
    outBias: tf.tensor1d(figures.floats(`head${labels}.${out}.bias`)),
  };
}

function denseOf(figures: SafetensorsFile) {
  return {
    weight: figures.floats("head.classifier.dense.weight"),
    bias: figures.floats("head.classifier.dense.bias"),
  };
}
