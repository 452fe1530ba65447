import { join } from "@std/path/posix/join";
import type * as z from "zod";
import type { AdapterTensors, PeftScale } from "../engine/adapters/adapter.ts";
import { cutAdapter, kindNamed } from "../engine/adapters/registry.ts";
import { type AdapterScale, usesRslora } from "../engine/adapters/scale.ts";
import { findAdapterFault } from "./checks.ts";
import { modulesToSave, peftTargets } from "./names.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import type { ProblemFields } from "../problems/problem.ts";
import { problemOf } from "../problems/registry.ts";
import { readJsonFile, writeJsonFile } from "../artifacts/json_file.ts";
import { BaseModelConfig } from "./config.ts";
import type { ModelOrigin } from "../artifacts/model.ts";
import {
  type AdapterRecord,
  type Epoch,
  noBestEpoch,
  readRecord,
  writeRecord,
} from "../artifacts/training.ts";

/** Files of a LoRA adapter as PEFT writes it. */
export const PEFT_FILES = [
  "adapter_config.json",
  "adapter_model.safetensors",
] as const;

/**
 * Files of an artifact of kind `adapter`: a LoRA adapter for PEFT and how it
 * was trained.
 */
export const ADAPTER_FILES = [...PEFT_FILES, "training.json"] as const;

/** A trained adapter with its classification head. */
export interface Adapter {
  /** Model on which it was trained; undefined if unknown. */
  readonly baseModel: ModelOrigin | undefined;
  readonly training: AdapterRecord;
  /** Tensors after the last epoch. */
  readonly tensors: AdapterTensors;
  /**
   * Tensors after the best epoch, if training selected one; written to the
   * folder `best`.
   */
  readonly best?: AdapterTensors | undefined;
  /** The last layer of the head by rank, if each rank has its own. */
  readonly heads?: ReadonlyMap<number, AdapterTensors> | undefined;
}

/** File of the last layers: `RANK.NAME`. */
const HEADS_FILE = "heads.safetensors";

/**
 * The adapter as it was after an epoch.
 *
 * @throws {Error} If the best epoch is requested and training selected none.
 */
export function afterEpoch(adapter: Adapter, epoch: Epoch): Adapter {
  if (epoch === "last") return adapter;
  if (adapter.best !== undefined) return { ...adapter, tensors: adapter.best };
  throw noBestEpoch("adapter");
}

/**
 * Writes an artifact of kind `adapter`.
 *
 * @throws {TypeError} If a tensor is missing or has the wrong shape.
 */
export async function writeAdapter(
  folder: string,
  { baseModel, training, tensors, best, heads }: Adapter,
): Promise<void> {
  for (const it of best === undefined ? [tensors] : [tensors, best]) {
    const fault = faultOf(it, training);
    if (fault) throw new TypeError(`Cannot save the adapter: ${fault}`);
  }
  const facts = { baseModel, ...training };
  await writePeftFiles(folder, facts, tensors);
  if (best !== undefined) {
    const subfolder = join(folder, "best");
    await Deno.mkdir(subfolder);
    await writePeftFiles(subfolder, facts, best);
  }
  if (heads !== undefined) {
    writeSafetensors(join(folder, HEADS_FILE), headsByName(heads));
  }
  await writeRecord(folder, training);
}

/**
 * Reads an artifact of kind `adapter`.
 *
 * @throws {SyntaxError} If a file is invalid, or the files contradict each
 * other.
 */
export async function readAdapter(folder: string): Promise<Adapter> {
  const training = await readRecord(folder);
  const last = await readPeftFiles(folder, training);
  const heads = training.heads && readHeads(folder, training.heads, last);
  if (training.selection === null) return { training, ...last, heads };
  const { tensors: best } = await readPeftFiles(join(folder, "best"), training);
  return { training, ...last, best, heads };
}

/** The last layers of all ranks as tensors of one file: `RANK.NAME`. */
export function headsByName(
  heads: NonNullable<Adapter["heads"]>,
): AdapterTensors {
  return Object.fromEntries(
    [...heads].flatMap(([rank, head]) =>
      Object.entries(head).map(([name, tensor]) => [`${rank}.${name}`, tensor])
    ),
  );
}

/**
 * Reads the last layer of the head of each rank.
 *
 * @throws {SyntaxError} If a rank lacks its weight or bias, one has another
 * shape than the trained one, or a value is infinite or NaN.
 */
function readHeads(
  folder: string,
  { ranks }: NonNullable<AdapterRecord["heads"]>,
  { tensors }: Pick<Adapter, "tensors">,
): NonNullable<Adapter["heads"]> {
  const path = join(folder, HEADS_FILE);
  const stored = readTensors(path);
  const fault = (what: string) =>
    new SyntaxError(
      `"${path}" ${what}: run the stage that made it again`,
    );
  const served = ranks.map(({ rank }) => String(rank));
  const layers = new Set<string>();
  for (const [name, { values }] of Object.entries(stored)) {
    const [rank, ...path] = name.split(".");
    if (!served.includes(rank!)) {
      throw fault(`has "${name}", which is of no rank of the adapter`);
    }
    layers.add(path.slice(0, -1).join("."));
    const wrong = values.find((it) => !Number.isFinite(it));
    if (wrong !== undefined) throw fault(`has the value ${wrong} in "${name}"`);
  }
  const [layer, ...others] = layers;
  if (layer === undefined) throw fault("has no last layer");
  if (others.length > 0) throw fault(`has "${layer}" and "${others[0]}"`);
  const parts = [`${layer}.weight`, `${layer}.bias`]
    .filter((it) => it.endsWith("weight") || it in tensors);
  return new Map(ranks.map(({ rank }) => {
    const head: Record<string, AdapterTensors[string]> = {};
    for (const name of parts) {
      const tensor = stored[`${rank}.${name}`];
      const shape = tensors[name]?.shape;
      if (tensor === undefined || String(tensor.shape) !== String(shape)) {
        throw fault(`has no "${name}" for rank ${rank} that fits the adapter`);
      }
      head[name] = tensor;
    }
    return [rank, head];
  }));
}

/**
 * The tensors of an adapter cut to a rank, with the head that this rank has.
 */
export function tensorsAt(
  rank: number,
  { tensors, heads }: Pick<Adapter, "tensors" | "heads">,
): AdapterTensors {
  return { ...cutAdapter(tensors, rank), ...heads?.get(rank) };
}

async function readPeftFiles(
  folder: string,
  training: AdapterRecord,
): Promise<Pick<Adapter, "baseModel" | "tensors">> {
  const configPath = join(folder, "adapter_config.json");
  const config = await readJsonFile(configPath, BaseModelConfig);
  const kind = kindNamed(training.adapter);
  const expected = { ...kind.type, ...kind.config(peftScale(training)) };
  for (const [field, value] of Object.entries(expected)) {
    if (JSON.stringify(config[field]) === JSON.stringify(value)) continue;
    throw new SyntaxError(
      `"${configPath}" has "${field}" ${
        JSON.stringify(config[field])
      }, but "training.json" requires ${JSON.stringify(value)}`,
    );
  }
  const path = join(folder, "adapter_model.safetensors");
  const tensors = readTensors(path);
  const fault = faultOf(tensors, training);
  if (fault !== undefined) {
    throw new SyntaxError(`"${path}" is not a complete adapter: ${fault}`);
  }
  return { baseModel: baseModelIn(config), tensors };
}

function faultOf(tensors: AdapterTensors, { adapter, rank }: AdapterRecord) {
  return findAdapterFault(kindNamed(adapter), tensors, rank);
}

/** All tensors of a safetensors file, as float32. */
export function readTensors(path: string): AdapterTensors {
  using file = SafetensorsFile.open(path);
  return Object.fromEntries(
    [...file.tensors].map(([name, { shape }]) => [
      name,
      { shape, values: file.floats(name) },
    ]),
  );
}

/** The base model that a configuration of PEFT names. */
export function baseModelIn(
  config: z.output<typeof BaseModelConfig>,
): ModelOrigin | undefined {
  const { base_model_name_or_path: name, revision } = config;
  return name ? { name, revision: revision ?? null } : undefined;
}

function peftScale(
  { rank, alpha, scaling, loraDropout = 0 }: Scaled,
): PeftScale {
  return { rank, alpha, useRslora: usesRslora(scaling), loraDropout };
}

/** What PEFT's configuration says of an adapter's rank, scale and dropout. */
type Scaled = Pick<AdapterRecord, keyof AdapterScale | "loraDropout">;

/** Writes an adapter with its classification head in the format of PEFT. */
export async function writePeftFiles(
  folder: string,
  { baseModel, adapter, targetModules, ...settings }:
    & Pick<Adapter, "baseModel">
    & Scaled
    & ProblemFields
    & Pick<AdapterRecord, "adapter" | "targetModules">,
  tensors: AdapterTensors,
): Promise<void> {
  const names = Object.keys(tensors);
  const kind = kindNamed(adapter);
  const config: Readonly<Record<string, unknown>> = {
    base_model_name_or_path: baseModel?.name ?? null,
    bias: "none",
    inference_mode: true,
    modules_to_save: modulesToSave(names),
    revision: baseModel?.revision ?? null,
    target_modules: peftTargets(targetModules, names),
    task_type: problemOf(settings).peftTask,
    ...kind.type,
    ...kind.config(peftScale(settings)),
  };
  await writeJsonFile(
    join(folder, "adapter_config.json"),
    Object.fromEntries(Object.entries(config).sort()),
  );
  writeSafetensors(join(folder, "adapter_model.safetensors"), tensors, {
    format: "pt",
  });
}
