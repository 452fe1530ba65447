import * as z from "zod";
import {
  asWritten,
  readAsWritten,
  readJsonFile,
} from "../artifacts/json_file.ts";
import {
  LoraConfig,
  moduleScale,
  refuseFields,
  VARIANTS,
} from "../peft/config.ts";
import { PEFT_PREFIX } from "../peft/names.ts";
import {
  elementCount,
  FLOAT_TYPES,
  SafetensorsFile,
  type TensorType,
} from "../engine/safetensors/reader.ts";
import type { AdapterFiles } from "./source.ts";

// What the files of a LoRA say: PEFT's folders, files of kohya and LyCORIS, and
// of diffusers.

/** A tensor of a file. */
export interface NamedTensor extends TensorType {
  readonly name: string;
}

/** The two factors of a module in a file. */
export interface Part {
  /** The safetensors file. */
  readonly path: string;
  /** `[rank, in]`, or `[rank, in, height, width]` of a convolution. */
  readonly a: NamedTensor;
  /** `[out, rank]`, or `[out, rank, 1, 1]`. */
  readonly b: NamedTensor;
  /**
   * `[rank, rank, height, width]`, between them, with A `[rank, in, 1, 1]`
   * (LyCORIS).
   */
  readonly mid: NamedTensor | undefined;
  readonly rank: number;
  /** Factor of the product: alpha / rank, times the weight of the file. */
  readonly scale: number;
}

/** A module of a model with a low-rank update, the sum of its parts. */
export interface Module {
  readonly name: string;
  /** Those of the files that are added up; usually one. */
  readonly parts: readonly Part[];
  /** The sum of the ranks of its parts. */
  readonly rank: number;
  /** Columns of the update: inputs times the area of the kernel. */
  readonly inputs: number;
  readonly outputs: number;
  /** Scale with which the factors are written, that of the first part. */
  readonly scale: number;
  /** The tensor with its alpha, if its file has one. */
  readonly alpha: NamedTensor | undefined;
}

/**
 * Ranks and alphas that a configuration of PEFT gives, in a folder or in the
 * metadata of a file.
 */
export interface Config {
  /** What the names of its modules leave out of those of the tensors. */
  readonly prefix: string;
  /** All its fields. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly checked: ResizableConfig;
}

/** An adapter whose modules can be resized. */
export interface Adapter {
  /**
   * The safetensors file of all that is not a module; that of the first
   * adapter.
   */
  readonly path: string;
  readonly format: "PEFT" | "kohya" | "diffusers";
  readonly modules: readonly Module[];
  /**
   * Tensors that are no factors, such as biases and whole modules, which are
   * copied.
   */
  readonly carried: readonly NamedTensor[];
  readonly metadata: ReadonlyMap<string, string>;
  readonly configs: readonly Config[];
}

const ResizableConfig = LoraConfig.superRefine(refuseFields(VARIANTS));
type ResizableConfig = z.output<typeof ResizableConfig>;

/**
 * Largest rank, whose decomposition takes minutes, and number of modules; more
 * are a damaged file.
 */
const MAX_RANK = 8192;
const MAX_MODULES = 50_000;

/**
 * Field of a file's metadata in which diffusers keeps the configurations of
 * PEFT.
 */
export const DIFFUSERS_CONFIG = "lora_adapter_metadata";

/**
 * What a tensor is to its module: a factor, the one between LyCORIS's, or the
 * alpha.
 */
type Role = "a" | "b" | "mid" | "alpha";

/**
 * Ends of the names of tensors in all notations, before `.default` and
 * `.weight`.
 */
const ENDS: Readonly<Record<Role, RegExp>> = {
  a: /(\.lora_(down|A|embedding_A)|[._]lora\.down|\.lora_linear_layer\.down)$/,
  b: /(\.lora_(up|B|embedding_B)|[._]lora\.up|\.lora_linear_layer\.up)$/,
  mid: /\.lora_mid$/,
  alpha: /\.alpha$/,
};

/** Tensors of methods other than LoRA. */
const OTHER_METHODS = [
  [/\.(dora_scale|lora_magnitude_vector)\b/, "DoRA"],
  [/\.hada_/, "LoHa"],
  [/\.lokr_/, "LoKr"],
  [/\.(oft_|boft_)/, "OFT"],
  [/\.(a1|a2|b1|b2|bm1|bm2)\.weight$/, "GLoRA"],
  [/\.(on_input|ia3_l)\b/, "IA3"],
  [/\.(vera_lambda_|randlora_lambda|lora_E\b)/, "VeRA, RandLoRA or AdaLoRA"],
] as const;

/**
 * Reads what the files of an adapter say of its modules, but not their values.
 *
 * @throws {SyntaxError} Naming the file and the tensor or the field that cannot
 * be resized.
 */
export async function readAdapter(
  { weights: path, config }: AdapterFiles,
): Promise<Adapter> {
  using file = SafetensorsFile.open(path);
  const fault = (message: string) => new SyntaxError(`"${path}": ${message}`);
  const tensors = [...file.tensors]
    .map(([name, { dtype, shape }]): NamedTensor => ({ name, dtype, shape }));
  for (const [pattern, method] of OTHER_METHODS) {
    const tensor = tensors.find(({ name }) => pattern.test(name));
    if (tensor === undefined) continue;
    throw fault(
      `${method} cannot be resized (tensor "${tensor.name}"); merge it into its model, and extract a LoRA`,
    );
  }
  const configs = config === undefined ? configsIn(file.metadata, fault) : [{
    prefix: PEFT_PREFIX,
    fields: await readAsWritten(config),
    checked: await readJsonFile(config, ResizableConfig),
  }];

  const carried: NamedTensor[] = [];
  const byModule = new Map<string, Partial<Record<Role, NamedTensor>>>();
  for (const tensor of tensors) {
    const [module, role] = roleOf(tensor.name);
    if (role === undefined) {
      carried.push(tensor);
      continue;
    }
    const roles = byModule.get(module) ?? {};
    const other = roles[role];
    if (other !== undefined) {
      throw fault(
        `module "${module}" has two of a kind, "${other.name}" and "${tensor.name}"`,
      );
    }
    byModule.set(module, { ...roles, [role]: tensor });
  }
  if (byModule.size === 0) {
    const names = carried.slice(0, 3).map(({ name }) => `"${name}"`);
    throw fault(`it has no LoRA tensors, but ${names.join(", ")}`);
  }
  if (byModule.size > MAX_MODULES) {
    throw fault(
      `it has ${byModule.size} modules; the maximum is ${MAX_MODULES}`,
    );
  }
  const modules = [...byModule].map(([name, { a, b, mid, alpha }]) => {
    if (a === undefined || b === undefined) {
      const lone = (a ?? b ?? mid ?? alpha)!.name;
      throw fault(
        a ?? b
          ? `tensor "${lone}" lacks its other factor`
          : `tensor "${lone}" belongs to no pair of factors`,
      );
    }
    return moduleOf(
      { path, name, a, b, mid, alpha },
      (rank) => scaleOf(file, name, rank, alpha, configs, fault),
      fault,
    );
  });
  const format = config !== undefined
    ? "PEFT"
    : modules.some(({ parts: [part] }) => part!.a.name.includes(".lora_down"))
    ? "kohya"
    : "diffusers";
  return { path, format, modules, carried, metadata: file.metadata, configs };
}

/**
 * The module of a tensor, and what it is there; no role if it is none of a
 * LoRA.
 */
function roleOf(name: string): [module: string, role?: Role] {
  const stem = name.replace(/(\.default)?(\.weight)?$/, "");
  for (const role of ["a", "b", "mid", "alpha"] as const) {
    const at = stem.search(ENDS[role]);
    if (at > 0) return [stem.slice(0, at), role];
  }
  return [name];
}

/** Checks the shapes of a module's tensors. */
function moduleOf(
  { path, name, a, b, mid, alpha }:
    & Pick<Part, "path" | "a" | "b" | "mid">
    & Pick<Module, "name" | "alpha">,
  scaleAt: (rank: number) => number,
  fault: (message: string) => SyntaxError,
): Module {
  const [rank = 0] = a.shape;
  const [outputs = 0, columns] = b.shape;
  const [first, second, ...kernel] = mid?.shape ?? [rank, rank];
  const fits = a.shape.length >= 2 && rank > 0 && outputs > 0 &&
    columns === rank && first === rank && second === rank &&
    elementCount(b.shape) === outputs * rank &&
    (mid === undefined || a.shape.slice(2).every((size) => size === 1));
  if (!fits) {
    const shapes = [a, mid, b].filter((it) => it !== undefined)
      .map(({ name, shape }) => `"${name}" has shape [${shape}]`).join(", ");
    throw fault(`the factors of "${name}" do not fit: ${shapes}`);
  }
  const odd = [a, b, mid].find((it) => it && !FLOAT_TYPES.includes(it.dtype));
  if (odd !== undefined) {
    const types = FLOAT_TYPES.join(" or ");
    throw fault(
      `tensor "${odd.name}" has type ${odd.dtype}, expected ${types}`,
    );
  }
  if (rank > MAX_RANK) {
    throw fault(`"${a.name}" has rank ${rank}; the maximum is ${MAX_RANK}`);
  }
  const scale = scaleAt(rank);
  return {
    name,
    parts: [{ path, a, b, mid, rank, scale }],
    rank,
    inputs: elementCount(a.shape) / rank * elementCount(kernel),
    outputs,
    scale,
    alpha,
  };
}

/**
 * alpha / rank of a module, from its tensor or its configuration; 1 if neither
 * gives an alpha.
 */
function scaleOf(
  file: SafetensorsFile,
  module: string,
  rank: number,
  tensor: NamedTensor | undefined,
  configs: readonly Config[],
  fault: (message: string) => SyntaxError,
): number {
  const config = configs.find(({ prefix }) => module.startsWith(prefix));
  if (tensor !== undefined) {
    if (config !== undefined) {
      throw fault(
        `module "${module}" has two alphas: tensor "${tensor.name}", and that of its configuration; remove one of them`,
      );
    }
    if (elementCount(tensor.shape) !== 1) {
      throw fault(
        `tensor "${tensor.name}" has shape [${tensor.shape}], expected one alpha`,
      );
    }
    const [alpha] = FLOAT_TYPES.includes(tensor.dtype)
      ? file.floats(tensor.name)
      : file.ints(tensor.name);
    if (Number.isFinite(alpha) && alpha! > 0) return alpha! / rank;
    throw fault(
      `tensor "${tensor.name}" is ${alpha}, expected a positive alpha`,
    );
  }
  const [other] = configs;
  if (other === undefined) return 1;
  if (config === undefined) {
    throw fault(
      `module "${module}" has no settings: those of the configuration are of modules whose names start with "${other.prefix}"`,
    );
  }
  const stated = moduleScale(
    config.checked,
    module.slice(config.prefix.length),
  );
  if (stated.rank === rank) return stated.scale;
  throw fault(
    `the factors of "${module}" have rank ${rank}, but its configuration says ${stated.rank}`,
  );
}

/**
 * The configurations of PEFT that diffusers keeps in the metadata, a prefix for
 * each model of a pipeline.
 */
function configsIn(
  metadata: ReadonlyMap<string, string>,
  fault: (message: string) => SyntaxError,
): Config[] {
  const text = metadata.get(DIFFUSERS_CONFIG);
  if (text === undefined) return [];
  let entries: [string, unknown][];
  try {
    entries = Object.entries(JSON.parse(text, asWritten));
  } catch (error) {
    throw fault(
      `"${DIFFUSERS_CONFIG}" is not JSON: ${(error as Error).message}`,
    );
  }
  const prefixes = Map.groupBy(entries, ([key]) => /^(.*\.)?/.exec(key)![0]);
  return [...prefixes].map(([prefix, ofPrefix]) => {
    const fields = Object.fromEntries(
      ofPrefix.map(([key, value]) => [key.slice(prefix.length), value]),
    );
    const { success, data, error } = ResizableConfig.safeParse({
      peft_type: "LORA",
      ...JSON.parse(JSON.stringify(fields)),
    });
    if (success) return { prefix, fields, checked: data };
    throw fault(`"${DIFFUSERS_CONFIG}" is invalid:\n${z.prettifyError(error)}`);
  });
}

/**
 * The weighted sum of adapters of one model: a module of several has the parts
 * of each.
 *
 * @throws {SyntaxError} If they have no module in common, or more than LoRA.
 */
export function weightedSum(
  adapters: readonly (readonly [Adapter, weight: number])[],
): Adapter {
  const [[first]] = adapters as [readonly [Adapter, number]];
  const modules = new Map<string, Module>();
  for (const [{ path, carried, modules: added }, weight] of adapters) {
    const fault = (message: string) =>
      new SyntaxError(`"${path}" cannot be added: ${message}`);
    if (path !== first.path && carried.length > 0) {
      throw fault(`it has tensor "${carried[0]!.name}", which is not LoRA`);
    }
    if (modules.size > 0 && !added.some(({ name }) => modules.has(name))) {
      throw fault(
        `it has no module of "${first.path}", but "${added[0]!.name}"`,
      );
    }
    for (const module of added) {
      const { name, inputs, outputs, rank } = module;
      const before = modules.get(name) ?? { ...module, parts: [], rank: 0 };
      if (before.inputs !== inputs || before.outputs !== outputs) {
        throw fault(
          `its module "${name}" is [${outputs}, ${inputs}], and [${before.outputs}, ${before.inputs}] in "${first.path}"`,
        );
      }
      const parts = module.parts
        .map((part) => ({ ...part, scale: weight * part.scale }));
      modules.set(name, {
        ...before,
        parts: [...before.parts, ...parts],
        rank: before.rank + rank,
      });
    }
  }
  return { ...first, modules: [...modules.values()] };
}
