import { join } from "node:path";
import type { Adapter } from "../artifacts/adapter.ts";
import { fromPeftTensors } from "../engine/adapters/peft_adapter.ts";
import type { Classifier } from "../engine/classifier.ts";
import { type EncoderConfig, parseEncoderConfig } from "../engine/config.ts";
import {
  encoderTensors,
  fillEncoder,
} from "../engine/fine_tuning/encoder_tensors.ts";
import { parameterLayout } from "../engine/parameters.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { type EngineSettings, startEngine } from "../engine/start.ts";
import type { Precision } from "../engine/tensorflow/precision.ts";
import { loadEncoder, loadPooler, type Pooler } from "../engine/weights.ts";
import type { Stage } from "../pipeline/task.ts";

/** A stage whose task computes. */
type ComputingStage = Pick<
  Stage<{ readonly precision: Precision | "auto" }>,
  "cpus" | "runtimes" | "params"
>;

/** The engine that the run chose for a stage. */
export function engineOf(
  { runtimes }: Pick<ComputingStage, "runtimes">,
): EngineSettings {
  return runtimes.engine as unknown as EngineSettings;
}

/**
 * Starts the stage's engine with the stage's threads and precision.
 *
 * @returns The precision in which products are computed
 */
export function startStageEngine(stage: ComputingStage): Promise<Precision> {
  const { cpus, params: { precision } } = stage;
  return startEngine(engineOf(stage), { cpus, precision });
}

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
interface WholeClassifier extends LoadedClassifier {
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

/**
 * The parameters of an adapter in the order of the classifier's layout, flat.
 *
 * @throws {SyntaxError} Naming the tensor, if the adapter was made for another model.
 */
export function adapterValues(
  { tensors }: Pick<Adapter, "tensors">,
  { layout, config }: Pick<Classifier, "layout" | "config">,
): Float32Array {
  const read = (name: string, shape: readonly number[]) => {
    const tensor = tensors[name];
    if (tensor === undefined || String(tensor.shape) !== String(shape)) {
      throw new SyntaxError(
        `The adapter does not fit the model: tensor "${name}" should have shape [${shape}], and ` +
          (tensor === undefined ? "is missing" : `has [${tensor.shape}]`),
      );
    }
    return tensor.values as Float32Array;
  };
  return fromPeftTensors(read, layout, config.architecture);
}
