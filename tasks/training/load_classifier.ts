import { join } from "node:path";
import type { Classifier } from "../../lib/engine/classifier.ts";
import { parseEncoderConfig } from "../../lib/engine/config.ts";
import { parameterLayout } from "../../lib/engine/parameters.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors.ts";
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
 * rank and a head for the labels. The engine must have been started.
 *
 * @throws {SyntaxError} If the folder does not hold a BERT or RoBERTa encoder.
 */
export function loadClassifier(
  folder: string,
  rank: number,
  labels: number,
): LoadedClassifier {
  const config = parseEncoderConfig(
    Deno.readTextFileSync(join(folder, "config.json")),
  );
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  return {
    config,
    weights: loadEncoder(file, config, { pooledLast: true }),
    layout: parameterLayout(config, rank, labels),
    pooler: config.architecture === "bert"
      ? loadPooler(file, config)
      : undefined,
  };
}
