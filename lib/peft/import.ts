import { join } from "@std/path/posix/join";
import * as z from "zod";
import {
  type AdapterKind,
  type AdapterTensors,
  resized,
} from "../engine/adapters/adapter.ts";
import {
  adapterTensor,
  kindNamed,
  kindOf,
  LORA_B,
  TYPE_FIELDS,
} from "../engine/adapters/registry.ts";
import {
  checkFit,
  findAdapterFault,
  findHeadFault,
  headOutputs,
} from "./checks.ts";
import {
  modulesOf,
  modulesToSave,
  PEFT_PREFIX,
  peftName,
  peftTargets,
} from "./names.ts";
import type { HeadName, Model } from "../engine/models/model.ts";
import { headTensors } from "../engine/models/outline.ts";
import {
  parameterLayout,
  storedTensors,
  type TargetModules,
} from "../engine/models/parameters.ts";
import { scheduleNamed } from "../engine/schedules/registry.ts";
import { type Adapter, baseModelIn, readTensors } from "./adapter.ts";
import {
  headOfTask,
  PEFT_TASKS,
  problemOf,
  type TaskProblem,
} from "../problems/registry.ts";
import { CLASSES_FILE, findClasses } from "../artifacts/classes.ts";
import { exists, readJsonFile } from "../artifacts/json_file.ts";
import { LoraConfig, moduleScale, refuseFields, VARIANTS } from "./config.ts";
import { openWeights, readModel } from "../artifacts/model.ts";
import type { AdapterRecord } from "../artifacts/training.ts";

/** The adapter of a module. */
interface ModuleUpdate {
  /** By what follows the module's name. */
  readonly adapter: AdapterTensors;
  readonly rank: number;
  readonly alpha: number;
  /** Rounded to float32, as PEFT applies it. */
  readonly scale: number;
}

/** The adapters of all modules of a file, at one rank and one scale. */
interface PaddedModules {
  /** That of the module with the largest rank. */
  readonly rank: number;
  /** That of the module with the largest rank. */
  readonly alpha: number;
  readonly useRslora: boolean;
  readonly loraDropout: number | undefined;
  /** All tensors, those of modules padded; without adapters of the head. */
  readonly tensors: AdapterTensors;
  /**
   * What the file adds to each module, by the module's name in the tensors.
   */
  readonly updates: ReadonlyMap<string, ModuleUpdate>;
}

/** An adapter that PEFT wrote. */
export interface PeftAdapter extends PaddedModules {
  readonly kind: AdapterKind;
  readonly baseModel: Adapter["baseModel"];
  /** The model that it was read for. */
  readonly model: Model;
  readonly modelFolder: string;
  /**
   * Target modules as the configuration lists them; undefined if it has a
   * pattern.
   */
  readonly listedModules: readonly string[] | undefined;
  readonly head: HeadName;
  /** Outputs of the head. */
  readonly outputs: number;
  /** Task, classes and length of texts, if it was exported here. */
  readonly exported:
    | TaskProblem & { readonly maxLength: number | null }
    | undefined;
}

/**
 * Reads a folder written by PEFT for a model: adapters on the same modules of
 * every layer, with a classification head. Modules of lower rank are padded
 * with zeros. The alpha of rank-stabilized LoRA (arXiv 2312.03732, scale alpha
 * / sqrt(rank)) is converted to the alpha that gives the same scale as alpha /
 * rank.
 *
 * @throws {SyntaxError} Naming the file and what cannot be imported, what does
 * not fit the model, or the classes that do not fit the head.
 */
export async function readPeft(
  folder: string,
  modelFolder: string,
): Promise<PeftAdapter> {
  const configPath = join(folder, "adapter_config.json");
  if (!exists(configPath)) {
    throw new SyntaxError(
      `"${folder}" has no "adapter_config.json": give a folder written by save_pretrained() of PEFT, or the one in it that is called as the adapter`,
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
  const exported = await findClasses(folder);
  const { head: headName, outputs: named } = exported
    ? problemOf(exported)
    : { head: headOfTask(config.task_type), outputs: undefined };
  const model = readModel(modelFolder, headName);
  const head = headTensors(model).map(({ name }) => `${PEFT_PREFIX}${name}`);
  const adapter = padModules(path, kind, config, head);
  const { tensors, rank } = adapter;
  const incomplete = findAdapterFault(kind, tensors, rank);
  if (incomplete === undefined) checkFit(tensors, model);
  const outputs = headOutputs(tensors, model);
  const fault = incomplete ?? findHeadFault(tensors, model, outputs);
  if (fault !== undefined) {
    throw refusal(path, `${fault}; ${importable(model)}`);
  }
  if (named !== undefined && named !== outputs) {
    throw new SyntaxError(
      `"${folder}" has ${outputs} outputs, but "${CLASSES_FILE}" names ${named}: correct or remove it`,
    );
  }
  return {
    ...adapter,
    kind,
    baseModel: baseModelIn(config),
    model,
    modelFolder,
    listedModules: config.target_modules,
    head: headName,
    outputs,
    exported,
  };
}

function refusal(path: string, fault: string): SyntaxError {
  return new SyntaxError(`"${path}" cannot be imported: ${fault}`);
}

/**
 * Pads all modules of a file to the largest rank with zeros, and gives them the
 * same scale, that of the largest, by multiplying `lora_B`. The adapter
 * computes the same values bit for bit.
 *
 * LoRA on a module of the head, as `all-linear` of PEFT puts it on BERT's
 * pooler, is kept apart, because a head has no rank.
 *
 * @param head Names of the tensors of the head
 * @throws {SyntaxError} If a tensor is missing or of another rank than
 * configured, or the ratio of two scales is not a power of two, so that the
 * product would be rounded.
 */
function padModules(
  path: string,
  kind: AdapterKind,
  config: PeftConfig,
  head: readonly string[],
): PaddedModules {
  const stored = readTensors(path);
  const names = Object.keys(stored)
    .flatMap((name) => adapterTensor(name)?.module ?? []);
  const updates = new Map(
    [...new Set(names)].map((module) =>
      [module, updateOf(path, kind, module, stored, config)] as const
    ),
  );
  const isOfHead = (module: string) =>
    head.includes(`${module}.weight`) && !(`${module}.weight` in stored);
  const [first, ...others] = [...updates].filter(([it]) => !isOfHead(it));
  if (first === undefined) throw refusal(path, "it has no LoRA tensors");
  const [largestName, largest] = others.reduce(
    (best, it) => it[1].rank > best[1].rank ? it : best,
    first,
  );
  /** What makes the scale of a module that of the largest. */
  const factorOf = (module: string) => {
    const { scale } = updates.get(module)!;
    const factor = scale / largest.scale;
    if (Number.isInteger(Math.log2(factor))) return factor;
    throw refusal(
      path,
      `the scales of "${nameOf(module)}" (${scale}) and "${
        nameOf(largestName)
      }" (${largest.scale}) cannot be made equal without rounding; train with one scale, or merge the adapter in PEFT`,
    );
  };
  const padded = Object.entries(stored).flatMap(([name, tensor]) => {
    const part = adapterTensor(name);
    if (part === undefined) return [[name, tensor] as const];
    if (isOfHead(part.module)) return [];
    const { shape, values } = resized(tensor, part.of, largest.rank);
    const factor = part.suffix === LORA_B ? factorOf(part.module) : 1;
    const scaled = values.map((value) => factor * value);
    return [[name, { shape, values: scaled }] as const];
  });
  return {
    rank: largest.rank,
    alpha: largest.alpha,
    useRslora: config.use_rslora ?? false,
    loraDropout: config.lora_dropout || undefined,
    tensors: Object.fromEntries<AdapterTensors[string]>(padded),
    updates,
  };
}

/** Name of a module without PEFT's prefix. */
function nameOf(module: string): string {
  return module.slice(PEFT_PREFIX.length);
}

/**
 * The adapter of a module, with the rank, alpha and scale that PEFT looks up by
 * its name.
 */
function updateOf(
  path: string,
  kind: AdapterKind,
  module: string,
  tensors: AdapterTensors,
  config: PeftConfig,
): ModuleUpdate {
  const { rank, alpha, scale } = moduleScale(config, nameOf(module));
  const adapter = Object.entries(kind.tensors).map(([suffix, { shape }]) => {
    const name = `${module}.${suffix}`;
    const tensor = tensors[name];
    if (tensor === undefined) {
      throw refusal(path, `tensor "${name}" is missing`);
    }
    const tensorRank = tensor.shape[shape.indexOf("rank")] ?? rank;
    if (tensorRank === rank) return [suffix, tensor] as const;
    throw refusal(
      path,
      `tensor "${name}" has shape [${tensor.shape}], but its rank in "adapter_config.json" is ${rank}`,
    );
  });
  return {
    adapter: Object.fromEntries(adapter),
    rank,
    alpha,
    scale: Math.fround(scale),
  };
}

/**
 * How PEFT trains an adapter that can be imported.
 *
 * @param isPretrained False if the model's file lacks tensors of the head.
 */
function importable(model: Model, isPretrained = true): string {
  const needed = headTensors(model)
    .filter(({ start }) => !isPretrained || start !== "pretrained")
    .map(({ name }) => `${PEFT_PREFIX}${name}`);
  return `train LoRA in every layer, with modules_to_save=${
    JSON.stringify(modulesToSave(needed))
  } and no other trained weights`;
}

/** Facts about an adapter that are not in its files. */
interface ImportFacts
  extends Pick<AdapterRecord, "task" | "problem" | "labels" | "seed"> {
  readonly method: "lora" | "dylora";
}

/**
 * Converts an adapter of PEFT to one for its model.
 *
 * @throws {SyntaxError} If neither has a tensor of the pretrained head.
 */
export function toAdapter(
  peft: PeftAdapter,
  { method: name, ...facts }: ImportFacts,
): Adapter {
  const { kind, baseModel, rank, alpha, useRslora, loraDropout } = peft;
  const { scaling } = scheduleNamed(name);
  return {
    baseModel,
    training: {
      ...facts,
      method: { name },
      imported: true,
      reducedBy: null,
      ...(kind !== kindNamed() && { adapter: kind.name }),
      rank,
      alpha,
      loraDropout,
      targetModules: targetsOf(peft),
      maxLength: peft.exported?.maxLength ?? null,
      scaling: useRslora ? { rslora: scaling } : scaling,
      selection: null,
    },
    tensors: withPretrainedHead(peft),
  };
}

/**
 * The targets that select the modules of an adapter: those listed, or the ends
 * of the modules' names. PEFT lists modules of the head as well for
 * `all-linear`, and leaves out what `exclude_modules` names.
 */
function targetsOf(
  { listedModules, tensors, model }: PeftAdapter,
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
 * @throws {SyntaxError} If the model lacks one as well, or LoRA on the head has
 * another shape than the model.
 */
function withPretrainedHead(
  { kind, tensors, updates, model, modelFolder }: PeftAdapter,
): AdapterTensors {
  const missing = headTensors(model).filter((
    { name, start },
  ) => start === "pretrained" && !(`${PEFT_PREFIX}${name}` in tensors));
  if (missing.length === 0) return tensors;
  using file = openWeights(modelFolder);
  const { has, read } = storedTensors(file, model);
  const lost = missing.find(({ name }) => !has(name));
  if (lost !== undefined) {
    throw new SyntaxError(
      `Neither the adapter nor the model has "${lost.name}", which was new when the adapter was trained; ${
        importable(model, false)
      }`,
    );
  }
  const added = missing.map(({ name, shape }) => {
    const values = read(name, shape);
    const savedName = `${PEFT_PREFIX}${name}`;
    const update = updates.get(savedName.replace(/\.weight$/, ""));
    if (update === undefined) return [savedName, { shape, values }] as const;
    const { adapter, rank, scale } = update;
    const sizes = { rank, outputs: shape[0], inputs: shape[1] };
    for (const [suffix, { shape }] of Object.entries(adapter)) {
      const expected = kind.tensors[suffix]!.shape.map((it) => sizes[it]);
      if (String(shape) === String(expected)) continue;
      throw new SyntaxError(
        `The adapter does not fit the model: "${suffix}" on "${name}" has shape [${shape}], expected [${expected}]; connect the model on which it was trained`,
      );
    }
    const merged = kind.merge(values, adapter, scale);
    return [savedName, { shape, values: merged }] as const;
  });
  return { ...tensors, ...Object.fromEntries(added) };
}

/**
 * The fields of PEFT's configuration that decide whether an adapter can be
 * imported. Other fields do not change what a trained adapter computes, or are
 * visible in its tensors, such as the target modules.
 */
const PeftConfig = LoraConfig.extend({
  task_type: z.literal(PEFT_TASKS, {
    error: ({ input }) =>
      input == null
        ? 'An adapter without a task type cannot be imported; if it was trained on a model for sequence classification, write "SEQ_CLS" here'
        : `An adapter for another task type (${
          JSON.stringify(input)
        }) cannot be imported; train it with task_type ${
          PEFT_TASKS.join(" or ")
        }`,
  }),
  bias: z.literal(
    "none",
    "Trained biases cannot be imported; train with bias: none",
  ).default("none"),
  /**
   * A list of plain names; for a pattern, the names of the tensors show the
   * modules.
   */
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

type PeftConfig = z.output<typeof PeftConfig>;
