import { join } from "node:path";
import { z } from "zod";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import {
  type AdapterRecord,
  parseRecord,
  readRecord,
} from "./adapter_record.ts";
import { findAdapterFault } from "./adapter_tensors.ts";
import { type Epoch, noBestEpoch } from "./epoch.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";
import type { ModelOrigin } from "./model.ts";
import {
  type AdapterTensors,
  PEFT_FILES,
  writePeftFiles,
} from "./peft_files.ts";

/** Files of an artifact of kind `adapter`; the first two are a LoRA adapter as PEFT writes it. */
export const ADAPTER_FILES = [...PEFT_FILES, "training.json"] as const;

/** The fields of PEFT's configuration that matter here; PEFT itself writes more. */
const AdapterConfig = z.looseObject({
  base_model_name_or_path: z.string().nullish(),
  revision: z.string().nullish(),
  peft_type: z.literal("LORA"),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
});

/** A trained adapter with its classification head. */
export interface Adapter {
  /** The model that it was trained on; undefined if that is not known. */
  readonly baseModel: ModelOrigin | undefined;
  readonly training: AdapterRecord;
  /** As they were after the last epoch. */
  readonly tensors: AdapterTensors;
  /** As they were after the best epoch, where training chose one; in the folder `best`. */
  readonly best?: AdapterTensors | undefined;
}

/**
 * The adapter's tensors after an epoch.
 *
 * @throws {TypeError} If the best is asked for and training did not choose one.
 */
export function tensorsOf(
  { tensors, best }: Pick<Adapter, "tensors" | "best">,
  epoch: Epoch,
): AdapterTensors {
  if (epoch === "last") return tensors;
  if (best !== undefined) return best;
  throw noBestEpoch("adapter");
}

/**
 * Writes an artifact of kind `adapter`.
 *
 * @throws {TypeError} If a tensor is missing, of a wrong shape or unknown.
 */
export async function writeAdapter(
  folder: string,
  { tensors, best, ...adapter }: Adapter,
): Promise<void> {
  await writeTensors(folder, adapter, tensors);
  if (best !== undefined) {
    const subfolder = join(folder, "best");
    await Deno.mkdir(subfolder);
    await writeTensors(subfolder, adapter, best);
  }
  await writeJsonFile(
    join(folder, "training.json"),
    parseRecord(adapter.training),
  );
}

/**
 * Reads an artifact of kind `adapter`.
 *
 * @throws {SyntaxError} If a file is not what it should be, or they contradict each other.
 */
export async function readAdapter(folder: string): Promise<Adapter> {
  const training = await readRecord(folder);
  const last = await readPeftFiles(folder, training);
  if (training.selection === null) return { training, ...last };
  const { tensors: best } = await readPeftFiles(join(folder, "best"), training);
  return { training, ...last, best };
}

async function writeTensors(
  folder: string,
  { baseModel, training }: Pick<Adapter, "baseModel" | "training">,
  tensors: AdapterTensors,
): Promise<void> {
  const names = Object.keys(tensors);
  const fault = adapterFault(
    new Map(names.map((name) => [name, tensors[name]!.shape])),
    training,
  );
  if (fault !== undefined) throw new TypeError(`Cannot save adapter: ${fault}`);
  const { rank, alpha } = training;
  await writePeftFiles(folder, { baseModel, rank, alpha }, tensors);
}

async function readPeftFiles(
  folder: string,
  training: AdapterRecord,
): Promise<Pick<Adapter, "baseModel" | "tensors">> {
  const configPath = join(folder, "adapter_config.json");
  const config = await readJsonFile(configPath, AdapterConfig);
  if (config.r !== training.rank || config.lora_alpha !== training.alpha) {
    throw new SyntaxError(
      `"${configPath}" says rank ${config.r} and alpha ${config.lora_alpha}, but "training.json" rank ${training.rank} and alpha ${training.alpha}`,
    );
  }
  const path = join(folder, "adapter_model.safetensors");
  using file = SafetensorsFile.open(path);
  const shapes = new Map(
    [...file.tensors].map(([name, { shape }]) => [name, shape]),
  );
  const fault = adapterFault(shapes, training);
  if (fault !== undefined) {
    throw new SyntaxError(`"${path}" is not a complete adapter: ${fault}`);
  }
  const tensors: Record<string, TensorValues> = {};
  for (const [name, shape] of shapes) {
    tensors[name] = { shape, values: file.floats(name) };
  }
  return { baseModel: originIn(config), tensors };
}

function originIn(
  { base_model_name_or_path: name, revision }: z.output<typeof AdapterConfig>,
): ModelOrigin | undefined {
  return name ? { name, revision: revision ?? null } : undefined;
}

function adapterFault(
  shapes: ReadonlyMap<string, readonly number[]>,
  { rank, labels }: AdapterRecord,
): string | undefined {
  return findAdapterFault(shapes, rank, labels?.length ?? 1);
}
