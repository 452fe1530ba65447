import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { parseEncoderConfig } from "../engine/config.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import {
  type Adapter,
  type AdapterTensors,
  findAdapterFault,
} from "./adapter.ts";
import { readJsonFile } from "./json_file.ts";
import type { ModelOrigin } from "./model.ts";
import { moduleOf, modulesOf } from "./ranks.ts";

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

const never = (what: string, remedy: string) => ({
  error: `${what} cannot be taken over; ${remedy}`,
});
const off = (what: string, remedy: string) =>
  z.literal(false, never(what, remedy)).nullish();
/** A variant of LoRA that has a configuration of its own. */
const unset = (what: string, remedy: string) =>
  z.null(never(what, remedy)).optional();
/** A list, or a mapping, that names what else is changed. */
const empty = (what: string, remedy: string) =>
  z.unknown().refine(
    (found) => Object.keys(found ?? {}).length === 0,
    never(what, remedy),
  ).optional();
/** Values by the end of a module's name; PEFT takes any regular expression, which a stranger's file may not run here. */
const byName = (value: z.ZodNumber) =>
  z.record(z.string(), value).refine(
    (found) => Object.keys(found).every((name) => /^[\w.]+$/.test(name)),
    never(
      "A pattern of modules other than the end of their name",
      "write their names out",
    ),
  ).nullish().transform((found) => found ?? {});

/**
 * Starts after which an adapter adds to the model's own weights as they are.
 * PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ take something out of them first.
 */
const PLAIN_STARTS = [
  true,
  false,
  "gaussian",
  "eva",
  "orthogonal",
  "mica",
] as const;

/**
 * What of PEFT's configuration can be taken over; the rest has no influence on
 * what a trained adapter computes, or shows in its tensors, as the choice of
 * modules does.
 */
const PeftConfig = z.looseObject({
  peft_type: z.literal(
    "LORA",
    never("An adapter of another type", "only LoRA can"),
  ),
  task_type: z.literal(
    "SEQ_CLS",
    never("An adapter for another kind of task", "only SEQ_CLS can"),
  ),
  base_model_name_or_path: z.string().nullish(),
  revision: z.string().nullish(),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().nullish(),
  bias: z.literal("none", never("Trained biases", "train with bias: none"))
    .default("none"),
  init_lora_weights: z.literal(PLAIN_STARTS, {
    error: ({ input }) =>
      `An adapter whose start may have changed the model's own weights (${
        JSON.stringify(input)
      }) cannot be taken over; convert it when saving it in PEFT (path_initial_model_for_weight_conversion), or merge it there`,
  }).nullish(),
  layer_replication: empty(
    "A model that repeats its layers",
    "train without layer_replication",
  ),
  use_dora: off("DoRA", "train with use_dora: false, or merge it in PEFT"),
  use_qalora: off("QALoRA", "merge it in PEFT"),
  use_bdlora: unset("BD-LoRA", "merge it in PEFT"),
  lora_bias: off("A bias in lora_B", "train with lora_bias: false"),
  alora_invocation_tokens: unset(
    "An adapter for a part of the text",
    "train without activation",
  ),
  arrow_config: unset(
    "A router between adapters (Arrow)",
    "import one of the adapters",
  ),
  kasa_config: unset("KaSA", "train without kasa_config"),
  monteclora_config: unset(
    "MonteCLoRA",
    "train without monteclora_config, or merge it in PEFT",
  ),
  velora_config: unset(
    "VeLoRA",
    "train without velora_config, or merge it in PEFT",
  ),
  target_parameters: empty(
    "LoRA on parameters",
    'train with target_modules=["query", "value"]',
  ),
  trainable_token_indices: empty(
    "Trained tokens",
    "train without trainable_token_indices",
  ),
  rank_pattern: byName(z.int().positive()),
  alpha_pattern: byName(z.number().positive()),
});

type PeftConfig = z.output<typeof PeftConfig>;

/** Ranks and alphas of a LoRA as PEFT's configuration gives them. */
interface PeftScales {
  readonly rank: number;
  readonly alpha: number;
  /** Of modules with another rank, by the end of their name. */
  readonly rankPattern: Readonly<Record<string, number>>;
  /** Of modules with another alpha, in the same way. */
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** Whether the scale is alpha / sqrt(rank) rather than alpha / rank. */
  readonly stabilized: boolean;
}

/** A LoRA of one rank and one scale, alpha / rank. */
interface PaddedModules {
  readonly rank: number;
  readonly alpha: number;
  readonly tensors: AdapterTensors;
}

/**
 * Gives all modules the largest rank, by rows of zeros in `lora_A` and columns
 * of zeros in `lora_B`, and one scale, by multiplying `lora_B`: what the adapter
 * computes stays the same to the last bit.
 *
 * @throws {SyntaxError} If a module's scale is no power of two times the others', so that the product would round.
 */
function padModules(
  tensors: AdapterTensors,
  scales: PeftScales,
): PaddedModules {
  const modules = modulesIn(tensors, scales);
  const [first, ...others] = modules.values();
  if (first === undefined) throw new SyntaxError("it has no tensors of LoRA");
  const largest = others.reduce(
    (best, it) => it.rank > best.rank ? it : best,
    first,
  );
  const padded = Object.entries(tensors).map(([name, tensor]) => {
    const module = modules.get(moduleOf(name) ?? "");
    if (module === undefined) return [name, tensor];
    const isA = name.includes(".lora_A.");
    if (tensor.shape[isA ? 0 : 1] !== module.rank) {
      throw new SyntaxError(
        `tensor "${name}" has shape [${tensor.shape}], and its rank is ${module.rank}`,
      );
    }
    return [
      name,
      isA
        ? paddedRows(tensor, largest.rank)
        : paddedColumns(tensor, largest.rank, factorOf(module, largest)),
    ];
  });
  return {
    rank: largest.rank,
    alpha: scales.stabilized
      ? largest.alpha * Math.sqrt(largest.rank)
      : largest.alpha,
    tensors: Object.fromEntries(padded),
  };
}

/** A module's rank, alpha and scale, as the configuration has them. */
interface Module {
  readonly name: string;
  readonly rank: number;
  readonly alpha: number;
  /** In float32, as it is used. */
  readonly scale: number;
}

function modulesIn(
  tensors: AdapterTensors,
  { rank: r, alpha: a, rankPattern, alphaPattern, stabilized }: PeftScales,
): Map<string, Module> {
  return new Map(
    Object.keys(tensors).flatMap((tensor) => {
      const module = moduleOf(tensor);
      if (module === undefined) return [];
      const name = tensor.replace(/^base_model\.model\./, "")
        .replace(/\.lora_[AB]\.weight$/, "");
      const rank = at(rankPattern, name) ?? r;
      const alpha = at(alphaPattern, name) ?? a;
      const scale = Math.fround(alpha / (stabilized ? Math.sqrt(rank) : rank));
      return [[module, { name, rank, alpha, scale }]];
    }),
  );
}

/** What `lora_B` is multiplied by so that the largest module's scale does for both. */
function factorOf(module: Module, largest: Module): number {
  const factor = module.scale / largest.scale;
  if (Number.isInteger(Math.log2(factor))) return factor;
  throw new SyntaxError(
    `modules of different scales, ${module.scale} of "${module.name}" and ${largest.scale} of "${largest.name}", would be rounded; train with one scale, or merge it in PEFT`,
  );
}

/** What the first end of a module's name says, as PEFT looks it up. */
function at(
  ends: Readonly<Record<string, number>>,
  name: string,
): number | undefined {
  return Object.entries(ends).find(([end]) => `.${name}`.endsWith(`.${end}`))
    ?.[1];
}

function paddedRows(
  { shape: [, columns], values }: TensorValues,
  count: number,
): TensorValues {
  const padded = new Float32Array(count * columns!);
  padded.set(values);
  return { shape: [count, columns!], values: padded };
}

function paddedColumns(
  { shape: [rows, columns], values }: TensorValues,
  count: number,
  factor: number,
): TensorValues {
  const padded = new Float32Array(rows! * count);
  for (let row = 0; row < rows!; row++) {
    for (let column = 0; column < columns!; column++) {
      padded[row * count + column] = values[row * columns! + column]! * factor;
    }
  }
  return { shape: [rows!, count], values: padded };
}

/** What is known of an adapter besides its files. */
export interface Provenance {
  readonly method: "lora" | "dylora";
  readonly task: string;
  /** Class names in the order of their numbers; null if the task is a regression. */
  readonly labels: string[] | null;
  readonly seed: number;
}

/**
 * A PEFT adapter on a model folder as an adapter here.
 *
 * @throws {SyntaxError} If it does not fit the model.
 */
export function takeOver(
  { baseModel, rank, alpha, tensors }: PeftAdapter,
  model: string,
  { method, ...known }: Provenance,
): Adapter {
  return {
    baseModel,
    training: {
      ...known,
      method: `imported-${method}`,
      rank,
      alpha,
      scaling: method === "dylora" ? "rank" : "maximum",
      selection: null,
    },
    tensors: withPooler(tensors, model),
  };
}

/**
 * The tensors, with the model's own pooler where BERT's was not trained: the
 * head that is trained here begins with it.
 *
 * @throws {SyntaxError} If the adapter does not fit the model.
 */
function withPooler(tensors: AdapterTensors, model: string): AdapterTensors {
  const { architecture, layers, hidden } = parseEncoderConfig(
    Deno.readTextFileSync(join(model, "config.json")),
  );
  const names = Object.keys(tensors);
  const first = names.find((name) => name.endsWith(".lora_A.weight"))!;
  const found = {
    architecture: first.split(".")[2]!,
    layers: modulesOf(names).length / 2,
    hidden: tensors[first]!.shape[1]!,
  };
  for (
    const [what, expected] of Object.entries({ architecture, layers, hidden })
  ) {
    const own = found[what as keyof typeof found];
    if (own !== expected) {
      throw new SyntaxError(
        `The adapter does not fit the model: it has ${what} ${own}, and the model ${expected}`,
      );
    }
  }
  if (
    architecture !== "bert" || names.some((name) => name.includes(".pooler."))
  ) {
    return tensors;
  }
  using file = SafetensorsFile.open(join(model, "model.safetensors"));
  const prefix = file.tensors.has("pooler.dense.weight") ? "" : "bert.";
  return {
    ...tensors,
    ...Object.fromEntries(["weight", "bias"].map((part) => {
      const stored = `${prefix}pooler.dense.${part}`;
      const values = file.floats(stored);
      const { shape } = file.tensors.get(stored)!;
      return [`base_model.model.bert.pooler.dense.${part}`, { shape, values }];
    })),
  };
}
