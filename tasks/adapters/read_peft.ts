import { existsSync } from "node:fs";
import { join } from "node:path";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { findAdapterFault } from "../artifacts/adapter_tensors.ts";
import { readJsonFile } from "../artifacts/json_file.ts";
import type { ModelOrigin } from "../artifacts/model.ts";
import { moduleOf } from "../artifacts/module_ranks.ts";
import type { AdapterTensors } from "../artifacts/peft_files.ts";
import { type PaddedModules, padModules } from "./pad_modules.ts";
import { PeftConfig } from "./peft_config.ts";

/** A LoRA adapter that PEFT wrote. */
export interface PeftAdapter {
  readonly baseModel: ModelOrigin | undefined;
  readonly rank: number;
  /** The scale is alpha / rank. */
  readonly alpha: number;
  /** Outputs of the head. */
  readonly outputs: number;
  readonly tensors: AdapterTensors;
}

/**
 * Reads a folder that PEFT wrote: LoRA on query and value of every layer, with
 * a classification head. An alpha for rank-stabilized scaling
 * (arXiv 2312.03732, scale alpha / sqrt(rank)) becomes the one that gives the
 * same scale by alpha / rank, and modules of lower ranks are filled up with zeros.
 *
 * @throws {SyntaxError} Naming the file and what of it cannot be taken over.
 */
export async function readPeft(folder: string): Promise<PeftAdapter> {
  const configPath = join(folder, "adapter_config.json");
  if (!existsSync(configPath)) {
    throw new SyntaxError(
      `"${folder}" has no "adapter_config.json": name a folder that save_pretrained() of PEFT wrote`,
    );
  }
  const config = await readJsonFile(configPath, PeftConfig);
  const path = join(folder, "adapter_model.safetensors");
  if (!existsSync(path)) {
    throw new SyntaxError(
      `"${folder}" has no "adapter_model.safetensors"; save the adapter again with save_pretrained(FOLDER), whose default is safetensors`,
    );
  }
  using file = SafetensorsFile.open(path);
  const shapes = new Map(
    [...file.tensors].map(([name, { shape }]) => [name, shape]),
  );
  const outputs = headOutputs(shapes);
  if (outputs === undefined) {
    throw new SyntaxError(
      `"${path}" has no classification head: train it with modules_to_save=["classifier"], as PEFT does for task_type SEQ_CLS`,
    );
  }
  const foreign = [...shapes.keys()].find((name) =>
    name.includes(".lora_") && moduleOf(name) === undefined
  );
  if (foreign !== undefined) {
    throw new SyntaxError(
      `"${path}" adapts more than query and value ("${foreign}"), which cannot be taken over; train with target_modules=["query", "value"], or merge it in PEFT`,
    );
  }
  const { base_model_name_or_path: name, revision } = config;
  const { rank, alpha, tensors } = padded(path, file, config);
  const fault = findAdapterFault(
    new Map(Object.entries(tensors).map(([name, { shape }]) => [name, shape])),
    rank,
    outputs,
  );
  if (fault !== undefined) {
    throw new SyntaxError(`"${path}" cannot be taken over: ${fault}`);
  }
  return {
    baseModel: name ? { name, revision: revision ?? null } : undefined,
    rank,
    alpha,
    outputs,
    tensors,
  };
}

/** The tensors, all modules with the same rank and scale. */
function padded(
  path: string,
  file: SafetensorsFile,
  config: PeftConfig,
): PaddedModules {
  const tensors = Object.fromEntries(
    [...file.tensors].map(([name, { shape }]) => [
      name,
      { shape, values: file.floats(name) },
    ]),
  );
  try {
    return padModules(tensors, {
      rank: config.r,
      alpha: config.lora_alpha,
      rankPattern: config.rank_pattern,
      alphaPattern: config.alpha_pattern,
      stabilized: config.use_rslora === true,
    });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`"${path}" cannot be taken over: ${error.message}`);
  }
}

/** Rows of the head's last matrix. */
function headOutputs(
  shapes: ReadonlyMap<string, readonly number[]>,
): number | undefined {
  return ["classifier.out_proj.weight", "classifier.weight"].flatMap((name) =>
    shapes.get(`base_model.model.${name}`)?.[0] ?? []
  )[0];
}
