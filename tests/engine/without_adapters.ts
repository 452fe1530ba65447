import * as tf from "@tensorflow/tfjs-core";
import type { Classifier } from "../../lib/engine/classifier.ts";
import { fromClassifierTensors } from "../../lib/engine/fine_tuning/classifier_tensors.ts";
import {
  encoderTensors,
  fillEncoder,
} from "../../lib/engine/fine_tuning/encoder_tensors.ts";
import type { RankVectors } from "../../lib/engine/ops/adapted_linear.ts";
import {
  initialParameters,
  parameterLayout,
} from "../../lib/engine/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import { loadEncoder } from "../../lib/engine/weights.ts";
import type { Reference } from "./reference.ts";

/** The ranks of a classifier without adapters. */
export function noRanks(): RankVectors {
  return {
    scale: tf.zeros([1, 0]) as tf.Tensor2D,
    trained: tf.zeros([0]) as tf.Tensor1D,
  };
}

/** All weights of a reference, with its head of two labels. */
export function fullClassifier(
  { config, model, figures }: Reference,
): { classifier: Classifier; values: Float32Array } {
  const layout = parameterLayout(config, 0, 2, encoderTensors(config));
  const head = parameterLayout(config, 0, 2);
  const values = new Float32Array(layout.size);
  fillEncoder(values, model, config);
  values.set(
    fromClassifierTensors(
      (name) => {
        const shared = ["head", "head2"].map((group) => `${group}.${name}`);
        const found = shared.find((it) => figures.tensors.has(it));
        if (found !== undefined) return figures.floats(found);
        return model.floats(name.replace("bert.", ""));
      },
      head,
      config.architecture,
    ),
    layout.size - head.size,
  );
  return { classifier: { config, weights: undefined, layout }, values };
}

/** The frozen encoder of a reference with a head of two labels at its start. */
export function headClassifier(
  { config, model }: Reference,
): { classifier: Classifier; values: Float32Array } {
  const layout = parameterLayout(config, 0, 2);
  return {
    classifier: {
      config,
      weights: loadEncoder(model, config, { pooledLast: true }),
      layout,
    },
    values: initialParameters(layout, undefined, seededRandom(0, "init")),
  };
}
