import { join } from "@std/path/posix/join";
import * as z from "zod";
import type {
  AdapterKind,
  AdapterTensors,
} from "../engine/adapters/adapter.ts";
import { kindNamed, kindOf, TYPE_FIELDS } from "../engine/adapters/registry.ts";
import {
  findAdapterFault,
  findHeadFault,
  headOutputs,
  modulesOf,
  modulesToSave,
  PEFT_PREFIX,
  peftName,
  peftTargets,
} from "../engine/models/peft.ts";
import type { Architecture, Model } from "../engine/models/model.ts";
import { headTensors } from "../engine/models/outline.ts";
import {
  hasTensor,
  parameterLayout,
  type TargetModules,
  tensorReader,
} from "../engine/models/parameters.ts";
import { scheduleNamed } from "../engine/schedules/registry.ts";
import {
  type Adapter,
  baseModelIn,
  checkFit,
  readTensors,
  shapesOf,
} from "./adapter.ts";
import {
  CLASSES_FILE,
  type ExportedClasses,
  findClasses,
  outputsOf,
} from "./classes.ts";
import { exists, readJsonFile } from "./json_file.ts";
import {
  AdapterConfig,
  LORA_FIELDS,
  refuseFields,
  VARIANTS,
} from "./lora_config.ts";
import { type ModelOrigin, openWeights, readModel } from "./model.ts";
import {
  type PaddedModules,
  padModules,
  type WeightUpdate,
} from "./pad_modules.ts";
import type { AdapterRecord } from "./training.ts";

/** An adapter that PEFT wrote. */
export interface PeftAdapter extends PaddedModules {
  readonly kind: AdapterKind;
  readonly baseModel: ModelOrigin | undefined;
  /** Target modules as the configuration lists them; undefined if it has a pattern. */
  readonly listedModules: readonly string[] | undefined;
  /** Outputs of the classification head. */
  readonly outputs: number;
  /** Task, classes and length of texts, if it was exported here. */
  readonly exported: ExportedClasses | undefined;
}

/**
 * Reads a folder written by PEFT for a model: adapters on the same modules of every
 * layer, with a classification head. Modules of lower rank are padded with
 * zeros. The alpha of rank-stabilized LoRA (arXiv 2312.03732, scale
 * alpha / sqrt(rank)) is converted to the alpha that gives the same scale as
 * alpha / rank.
 *
 * @throws {SyntaxError} Naming the file and what cannot be imported, what does not fit the model, or the classes that do not fit the head.
 */
export async function readPeft(
  folder: string,
  model: Model,
): Promise<PeftAdapter> {
  const configPath = join(folder, "adapter_config.json");
  if (!exists(configPath)) {
    // PEFT saves an adapter with a name of its own in a folder of that name.
    const named = exists(folder) && Deno.statSync(folder).isDirectory
      ? [...Deno.readDirSync(folder)].map(({ name }) => join(folder, name))
        .filter((it) => exists(join(it, "adapter_config.json"))).sort()
      : [];
    throw new SyntaxError(
      `"${folder}" has no "adapter_config.json": give ${
        named.length === 0
          ? "a folder written by save_pretrained() of PEFT"
          : named.map((it) => `"${it}"`).join(" or ")
      }`,
    );
  }
  const config = await readJsonFile(configPath, PeftConfig);
  const kind = kindOf(config);
  if (kind === undefined) {
    throw new SyntaxError(`"${configPath}" describes no known kind of adapter`);
  }
  const path = join(folder, "adapter_model.safetensors");
  if (!exists(path)) {
    throw new SyntaxError(
      `"${folder}" has no "adapter_model.safetensors": save the adapter again with save_pretrained(FOLDER), which writes safetensors by default`,
    );
  }
  const { architecture } = model;
  const refuse = (fault: string) =>
    new SyntaxError(`"${path}" cannot be imported: ${fault}`);
  const head = headTensors(architecture)
    .map(({ name }) => `${PEFT_PREFIX}${name}`);
  const given = readTensors(path);
  let adapter: PaddedModules;
  try {
    adapter = padModules(kind, given, {
      rank: config.r,
      alpha: config.lora_alpha,
      rankPattern: config.rank_pattern,
      alphaPattern: config.alpha_pattern,
      stabilized: config.use_rslora === true,
    }, (weight) => head.includes(weight) && !(weight in given));
  } catch (error) {
    throw error instanceof SyntaxError ? refuse(error.message) : error;
  }
  const shapes = shapesOf(adapter.tensors);
  const incomplete = findAdapterFault(kind, shapes, adapter.rank);
  if (incomplete === undefined) checkFit(adapter.tensors, model);
  const outputs = headOutputs(shapes, architecture);
  const fault = incomplete ?? findHeadFault(shapes, architecture, outputs);
  if (fault !== undefined) {
    throw refuse(`${fault}; ${importable(architecture)}`);
  }
  const exported = await findClasses(folder);
  if (exported !== undefined && outputsOf(exported.labels) !== outputs) {
    throw new SyntaxError(
      `"${folder}" has ${outputs} outputs, but "${CLASSES_FILE}" names ${
        outputsOf(exported.labels)
      }: correct or remove it`,
    );
  }
  return {
    ...adapter,
    kind,
    baseModel: baseModelIn(config),
    listedModules: config.target_modules,
    outputs,
    exported,
  };
}

/**
 * How PEFT trains an adapter that can be imported.
 *
 * @param isPretrained False if the model's file lacks tensors of the head.
 */
function importable(architecture: Architecture, isPretrained = true): string {
  const needed = headTensors(architecture)
    .filter(({ start }) => !isPretrained || start !== "pretrained")
    .map(({ name }) => `${PEFT_PREFIX}${name}`);
  return `train LoRA in every layer, with modules_to_save=${
    JSON.stringify(modulesToSave(needed))
  } and no other trained weights`;
}

/** Facts about an adapter that are not in its files. */
interface ImportFacts extends Pick<AdapterRecord, "task" | "labels" | "seed"> {
  readonly method: "lora" | "dylora";
}

/**
 * Converts an adapter of PEFT to one for the folder of its model.
 *
 * @throws {SyntaxError} If neither has a tensor of the pretrained head.
 */
export function toAdapter(
  peft: PeftAdapter,
  folder: string,
  { method: name, ...known }: ImportFacts,
): Adapter {
  const { kind, baseModel, rank, alpha } = peft;
  const model = readModel(folder);
  return {
    baseModel,
    training: {
      ...known,
      method: { name },
      imported: true,
      reducedBy: null,
      ...(kind !== kindNamed() && { adapter: kind.name }),
      rank,
      alpha,
      targetModules: targetsOf(peft, model),
      maxLength: peft.exported?.maxLength ?? null,
      scaling: scheduleNamed(name).scaling,
      selection: null,
    },
    tensors: withPretrainedHead(peft, folder, model),
  };
}

/**
 * The targets that select the modules of an adapter: those listed, or the ends
 * of the modules' names. PEFT lists modules of the head as well for
 * `all-linear`, and leaves out what `exclude_modules` names.
 */
function targetsOf(
  { listedModules, tensors }: PeftAdapter,
  model: Model,
): TargetModules {
  const { modules } = parameterLayout(model, 1, {
    rank: 1,
    targetModules: "all-linear",
  });
  const isEnd = (target: string, name: string) =>
    `.${name}`.endsWith(`.${target}`);
  const adapted = new Set(modulesOf(Object.keys(tensors)));
  const selects = (targets: readonly string[]) =>
    targets.every((target) =>
      modules.some(({ name }) => isEnd(target, name))
    ) &&
    modules.every(({ name }) =>
      targets.some((target) => isEnd(target, name)) ===
        adapted.has(peftName(name))
    );
  const names = Object.keys(tensors);
  const isLayer = (target: string) => /\.\d+\./.test(`.${target}`);
  return [
    ...(listedModules && !listedModules.some(isLayer) ? [listedModules] : []),
    peftTargets("all-linear", names),
  ].find(selects) ?? modulesOf(names);
}

/**
 * The tensors, with those of the pretrained head that were not saved added from
 * the model.
 *
 * @throws {SyntaxError} If the model lacks one as well, or LoRA on the head has another shape than the model.
 */
function withPretrainedHead(
  { kind, tensors, headUpdates }: PeftAdapter,
  folder: string,
  model: Model,
): AdapterTensors {
  const missing = headTensors(model.architecture, model.hidden).filter((
    { name, start },
  ) => start === "pretrained" && !(`${PEFT_PREFIX}${name}` in tensors));
  if (missing.length === 0) return tensors;
  using file = openWeights(folder);
  const lost = missing.find(({ name }) => !hasTensor(file, model, name));
  if (lost !== undefined) {
    throw new SyntaxError(
      `Neither the adapter nor the model has "${lost.name}", which was new when the adapter was trained; ${
        importable(model.architecture, false)
      }`,
    );
  }
  const read = tensorReader(file, model);
  return {
    ...tensors,
    ...Object.fromEntries(missing.map(({ name, shape }) => {
      const weight = read(name, shape);
      const update = headUpdates[`${PEFT_PREFIX}${name}`];
      const values = update
        ? merged(kind, name, weight, shape, update)
        : weight;
      return [`${PEFT_PREFIX}${name}`, { shape, values }];
    })),
  };
}

/** @throws {SyntaxError} If the update has another shape than the weight. */
function merged(
  kind: AdapterKind,
  name: string,
  weight: Float32Array,
  [outputs, inputs]: readonly number[],
  { adapter, rank, scale }: WeightUpdate,
): Float32Array {
  const sizes = { rank, inputs, outputs };
  for (const [suffix, { shape }] of Object.entries(adapter)) {
    const expected = kind.tensors[suffix]!.shape.map((it) => sizes[it]);
    if (String(shape) === String(expected)) continue;
    throw new SyntaxError(
      `The adapter does not fit the model: "${suffix}" on "${name}" has shape [${shape}], expected [${expected}]; connect the model on which it was trained`,
    );
  }
  return kind.merge(weight, adapter, scale);
}

/**
 * The fields of PEFT's configuration that decide whether an adapter can be
 * imported. Other fields do not change what a trained adapter computes, or are
 * visible in its tensors, such as the target modules.
 */
const PeftConfig = AdapterConfig.extend({
  ...LORA_FIELDS,
  task_type: z.literal("SEQ_CLS", {
    error: ({ input }) =>
      input == null
        ? 'An adapter without a task type cannot be imported; if it was trained on a model for sequence classification, write "SEQ_CLS" here'
        : `An adapter for another task type (${
          JSON.stringify(input)
        }) cannot be imported; train it with task_type SEQ_CLS`,
  }),
  bias: z.literal(
    "none",
    "Trained biases cannot be imported; train with bias: none",
  ).default("none"),
  /** A list of plain names; for a pattern, the names of the tensors show the modules. */
  target_modules: z.array(z.string().regex(/^[\w.]+$/)).min(1).optional()
    .catch(undefined),
}).superRefine(refuseFields({
  ...Object.fromEntries(
    Object.entries(VARIANTS).filter(([field]) => !TYPE_FIELDS.includes(field)),
  ),
  alora_invocation_tokens:
    "An adapter activated by an invocation sequence (aLoRA)",
  layer_replication: "A model with replicated layers",
  lora_bias: "A bias in lora_B",
  trainable_token_indices: "Training of single tokens",
}));
