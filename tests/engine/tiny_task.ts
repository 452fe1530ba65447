import type { Examples } from "../../lib/engine/batches.ts";
import type { Classifier } from "../../lib/engine/classifier.ts";
import {
  initialParameters,
  parameterLayout,
} from "../../lib/engine/parameters.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import type { TrainingOptions } from "../../lib/engine/training/options.ts";
import { loadEncoder } from "../../lib/engine/weights.ts";
import { openReference } from "./reference.ts";

/** The tiny RoBERTa with adapters and a head of two labels. */
export function tinyClassifier(
  rank = 8,
): { classifier: Classifier; initial: Float32Array } {
  const { config, model } = openReference("roberta");
  const layout = parameterLayout(config, rank, 2);
  return {
    classifier: {
      config,
      weights: loadEncoder(model, config, { pooledLast: true }),
      layout,
    },
    initial: initialParameters(layout, undefined, seededRandom(0, "init")),
  };
}

/** Examples with a pattern: the label says whether token 40 occurs. */
export function tinyExamples(count: number): Examples {
  const random = seededRandom(5, "examples");
  const ids: number[] = [];
  const offsets = [0];
  const labels: number[] = [];
  for (let i = 0; i < count; i++) {
    const label = Number(random.next() < 0.5);
    const length = 3 + Math.floor(random.next() * 20);
    const body = Array.from(
      { length },
      () => 50 + Math.floor(random.next() * 100),
    );
    if (label === 1) body[Math.floor(random.next() * length)] = 40;
    ids.push(0, ...body, 2);
    offsets.push(ids.length);
    labels.push(label);
  }
  return {
    ids: Int32Array.from(ids),
    types: new Uint8Array(ids.length),
    offsets: Int32Array.from(offsets),
    labels: Float32Array.from(labels),
  };
}

export const tinyOptions: TrainingOptions = {
  alpha: 16,
  mode: "all",
  sampler: { kind: "uniform" },
  epochs: 3,
  batchSize: 8,
  accumulation: 1,
  learningRate: 5e-3,
  warmupRatio: 0.06,
  optimizer: {
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0.1,
    clipNorm: 1,
  },
  dropout: true,
  seed: 0,
};
