import { assert } from "@std/assert";
import { join } from "node:path";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import { writeAdapter } from "../../lib/peft/adapter.ts";
import { readRecord, type Training } from "../../lib/artifacts/training.ts";
import type { DyloraSettings } from "../../lib/engine/schedules/dylora.ts";

const REFERENCES = join(import.meta.dirname!, "../../fixtures/references");

const SETTINGS: DyloraSettings = {
  mode: "all",
  sampler: { kind: "geometric", p: 0.15 },
  scope: "model",
  sortAt: 0,
  sourceRanks: [],
};

/**
 * That of the adapters in fixtures/references, which PEFT made, as a training
 * of DyLoRA.
 */
export const REFERENCE_TRAINING: Training = {
  method: { name: "dylora", ...SETTINGS },
  imported: false,
  reducedBy: null,
  task: "sst2",
  problem: "classification",
  // Classes without names fit the tokens of any task with two.
  labels: ["LABEL_0", "LABEL_1"],
  rank: 4,
  alpha: 8,
  scaling: "rank",
  targetModules: ["query", "value"],
  seed: 0,
  start: null,
  model: null,
  epochs: 1,
  steps: 5,
  batchSize: 4,
  padding: "longest",
  maxLength: null,
  learningRate: 0.01,
  weightDecay: 0.1,
  warmupRatio: 0.06,
  clipNorm: 1,
  dropout: true,
  precision: "f32",
  engine: "tensorflow",
  examples: 20,
  tokens: 300,
  paddedTokens: 320,
  flops: 1e7,
  losses: [{ step: 5, loss: 0.5 }],
  selection: null,
};

/** The same as a LoRA. */
export const REFERENCE_LORA: Training = {
  ...REFERENCE_TRAINING,
  method: { name: "lora" },
  scaling: "maximum",
};

/** The same DyLoRA with other settings. */
export function referenceTraining(settings: Partial<DyloraSettings>): Training {
  const method = { name: "dylora", ...SETTINGS, ...settings } as const;
  return { ...REFERENCE_TRAINING, method };
}

/** `training.json` of an adapter that was trained here. */
export async function readTraining(folder: string): Promise<Training> {
  const record = await readRecord(folder);
  assert(!record.imported);
  return record;
}

/**
 * The adapter that PEFT made on the tiny model of a family, by PEFT's names.
 */
export function referenceTensors(family: string): Record<string, TensorValues> {
  using file = SafetensorsFile.open(join(REFERENCES, `${family}.safetensors`));
  return Object.fromEntries(
    [...file.tensors]
      .filter(([name]) => name.startsWith("adapter."))
      .map(([name, { shape }]) => [
        name.slice("adapter.".length),
        { shape, values: file.floats(name) },
      ]),
  );
}

/** Writes that adapter as an artifact below a folder; gives its path. */
export async function referenceAdapter(
  folder: string,
  training: Training,
  family = "roberta",
): Promise<string> {
  const path = await Deno.makeTempDir({ dir: folder, prefix: "adapter-" });
  await writeAdapter(path, {
    baseModel: { name: `org/tiny-${family}`, revision: null },
    training,
    tensors: referenceTensors(family),
  });
  return path;
}
