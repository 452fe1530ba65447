import { join } from "node:path";
import {
  type TensorValues,
  writeSafetensors,
} from "../../lib/engine/safetensors/writer.ts";
import { writeJsonFile } from "./json_file.ts";
import type { ModelOrigin } from "./model.ts";

/** Files of a LoRA adapter as PEFT writes it. */
export const PEFT_FILES = [
  "adapter_config.json",
  "adapter_model.safetensors",
] as const;

/** Tensors by PEFT's names: `lora_A` is `[rank, hidden]`, `lora_B` `[hidden, rank]`. */
export type AdapterTensors = Readonly<Record<string, TensorValues>>;

/** What PEFT's configuration says of an adapter besides its tensors. */
export interface PeftSettings {
  /** The model that it belongs on; undefined if that is not known. */
  readonly baseModel: ModelOrigin | undefined;
  readonly rank: number;
  /** PEFT's scale is alpha / rank. */
  readonly alpha: number;
  /** Ranks of the modules whose rank is another one, by the end of their name. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  /** Alphas of the modules whose alpha is another one, by the end of their name. */
  readonly alphaPattern?: Readonly<Record<string, number>>;
}

/** Writes a LoRA adapter on query and value with its classification head as PEFT does. */
export async function writePeftFiles(
  folder: string,
  { baseModel, rank, alpha, rankPattern, alphaPattern }: PeftSettings,
  tensors: AdapterTensors,
): Promise<void> {
  const pooler = Object.keys(tensors).some((name) => name.includes(".pooler."));
  await writeJsonFile(join(folder, "adapter_config.json"), {
    ...(alphaPattern && { alpha_pattern: alphaPattern }),
    base_model_name_or_path: baseModel?.name ?? null,
    bias: "none",
    inference_mode: true,
    lora_alpha: alpha,
    lora_dropout: 0,
    modules_to_save: pooler ? ["classifier", "pooler"] : ["classifier"],
    peft_type: "LORA",
    r: rank,
    ...(rankPattern && { rank_pattern: rankPattern }),
    revision: baseModel?.revision ?? null,
    target_modules: ["query", "value"],
    task_type: "SEQ_CLS",
  });
  writeSafetensors(join(folder, "adapter_model.safetensors"), tensors, {
    format: "pt",
  });
}
