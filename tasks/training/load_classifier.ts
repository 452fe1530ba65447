import { join } from "node:path";
import type { Classifier } from "../../lib/engine/classifier.ts";
import {
  type EncoderConfig,
  parseEncoderConfig,
} from "../../lib/engine/config.ts";
import {
  encoderTensors,
  fillEncoder,
} from "../../lib/engine/fine_tuning/encoder_tensors.ts";
import { parameterLayout } from "../../lib/engine/parameters.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import {
  loadEncoder,
  loadPooler,
  type Pooler,
} from "../../lib/engine/weights.ts";

/** A classifier, and the pooler that its head starts from. */
export interface LoadedClassifier extends Classifier {
  /** Undefined where the head starts at random. */
  readonly pooler: Pooler | undefined;
}

/**
 * Loads an artifact of kind `model` as a frozen encoder with adapters of the
 * rank, or none at rank 0, and a head for the labels. The engine must have
 * been started.
 *
 * @throws {SyntaxError} If the folder does not hold a BERT or RoBERTa encoder.
 */
export function loadClassifier(
  folder: string,
  rank: number,
  labels: number,
): LoadedClassifier {
  const config = readConfig(folder);
  using file = openWeights(folder);
  return {
    config,
    weights: loadEncoder(file, config, { pooledLast: true }),
    layout: parameterLayout(config, rank, labels),
    pooler: poolerOf(file, config),
  };
}

/** A classifier all of whose weights are trained, and their pretrained values. */
export interface WholeClassifier extends LoadedClassifier {
  /** Flat parameters, `[size]`; those of the head are zero. */
  readonly values: Float32Array;
}

/**
 * Loads an artifact of kind `model` as an encoder whose weights are trained
 * with a head for the labels.
 *
 * @throws {SyntaxError} If the folder does not hold a BERT or RoBERTa encoder.
 */
export function loadWholeClassifier(
  folder: string,
  labels: number,
): WholeClassifier {
  const config = readConfig(folder);
  using file = openWeights(folder);
  const layout = parameterLayout(config, 0, labels, encoderTensors(config));
  const values = new Float32Array(layout.size);
  fillEncoder(values, file, config);
  return {
    config,
    weights: undefined,
    layout,
    pooler: poolerOf(file, config),
    values,
  };
}

function readConfig(folder: string): EncoderConfig {
  return parseEncoderConfig(
    Deno.readTextFileSync(join(folder, "config.json")),
  );
}

function openWeights(folder: string): SafetensorsFile {
  return SafetensorsFile.open(join(folder, "model.safetensors"));
}

function poolerOf(
  file: SafetensorsFile,
  config: EncoderConfig,
): Pooler | undefined {
  return config.architecture === "bert" ? loadPooler(file, config) : undefined;
}
