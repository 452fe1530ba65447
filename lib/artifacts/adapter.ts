import { join } from "node:path";
import { z } from "zod";
import {
  type AdapterRecord,
  type Epoch,
  noBestEpoch,
  parseRecord,
  readRecord,
} from "./training.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../engine/safetensors/writer.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";
import type { ModelOrigin } from "./model.ts";

/** Files of a LoRA adapter as PEFT writes it. */
export const PEFT_FILES = [
  "adapter_config.json",
  "adapter_model.safetensors",
] as const;

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

/** Tensors by PEFT's names: `lora_A` is `[rank, hidden]`, `lora_B` `[hidden, rank]`. */
export type AdapterTensors = Readonly<Record<string, TensorValues>>;

/** What PEFT's configuration says of an adapter besides its tensors. */
interface PeftSettings {
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

/** Shapes of an adapter's tensors by PEFT's names. */
type AdapterShapes = ReadonlyMap<string, readonly number[]>;

const LORA =
  /^base_model\.model\.(?:bert|roberta)\.encoder\.layer\.(\d+)\.attention\.self\.(query|value)\.lora_([AB])\.weight$/;

/**
 * Looks for what is wrong with the names and shapes of an adapter's tensors:
 * PEFT itself would load an incomplete adapter with a warning only.
 *
 * Complete is an adapter with A `[rank, hidden]` and B `[hidden, rank]` of
 * query and value in each layer from the first on, and a classification head:
 * RoBERTa's `classifier.dense` and `classifier.out_proj`, or BERT's
 * `bert.pooler.dense` (where it was trained) and `classifier`.
 *
 * @returns The fault in words, if there is one.
 */
export function findAdapterFault(
  shapes: AdapterShapes,
  rank: number,
  labels: number,
): string | undefined {
  const lora = [...shapes.keys()].filter((name) => LORA.test(name));
  const [first] = lora;
  if (first === undefined) return "it has no tensor of LoRA";
  const family = first.split(".")[2]!;
  const hidden = shapes.get(first)![first.includes("lora_A") ? 1 : 0] ?? 0;
  const layers = 1 +
    Math.max(...lora.map((name) => Number(LORA.exec(name)![1])));
  // Compared before anything is counted out: the number stands in a file.
  if (lora.length !== 4 * layers) {
    return `it has ${lora.length} tensors of LoRA, expected ${
      4 * layers
    } for ${layers} layers`;
  }
  const expected = new Map([
    ...loraShapes(family, layers, rank, hidden),
    ...headShapes(family, shapes, hidden, labels),
  ]);
  for (const [name, shape] of expected) {
    const found = shapes.get(name);
    if (found === undefined) return `tensor "${name}" is missing`;
    if (String(found) !== String(shape)) {
      return `tensor "${name}" has shape [${found}], expected [${shape}]`;
    }
  }
  const stranger = [...shapes.keys()].find((name) => !expected.has(name));
  return stranger === undefined
    ? undefined
    : `tensor "${stranger}" is not part of an adapter of ${family}`;
}

function loraShapes(
  family: string,
  layers: number,
  rank: number,
  hidden: number,
): [string, number[]][] {
  const shapes: [string, number[]][] = [];
  for (let layer = 0; layer < layers; layer++) {
    for (const module of ["query", "value"]) {
      const name =
        `base_model.model.${family}.encoder.layer.${layer}.attention.self.${module}`;
      shapes.push(
        [`${name}.lora_A.weight`, [rank, hidden]],
        [`${name}.lora_B.weight`, [hidden, rank]],
      );
    }
  }
  return shapes;
}

function headShapes(
  family: string,
  shapes: AdapterShapes,
  hidden: number,
  labels: number,
): [string, number[]][] {
  const linear = (name: string, outputs: number): [string, number[]][] => [
    [`base_model.model.${name}.weight`, [outputs, hidden]],
    [`base_model.model.${name}.bias`, [outputs]],
  ];
  if (family === "roberta") {
    return [
      ...linear("classifier.dense", hidden),
      ...linear("classifier.out_proj", labels),
    ];
  }
  const pooler = linear("bert.pooler.dense", hidden);
  const trained = pooler.some(([name]) => shapes.has(name));
  return [...(trained ? pooler : []), ...linear("classifier", labels)];
}
