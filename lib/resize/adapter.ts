import * as z from "zod";
import { asWritten, readJsonFile } from "../artifacts/json_file.ts";
import {
  AdapterConfig,
  LORA_FIELDS,
  patternValue,
  refuseFields,
  VARIANTS,
} from "../artifacts/lora_config.ts";
import {
  elementCount,
  FLOAT_TYPES,
  SafetensorsFile,
  type TensorType,
} from "../engine/safetensors/reader.ts";
import type { AdapterFiles } from "./source.ts";

// What the files of a LoRA say: PEFT's folders, files of kohya and LyCORIS, and of diffusers.

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
  /** `[rank, rank, height, width]`, between them, with A `[rank, in, 1, 1]` (LyCORIS). */
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

/** Ranks and alphas that a configuration of PEFT gives, in a folder or in the metadata of a file. */
export interface Config {
  /** What the names of its modules leave out of those of the tensors. */
  readonly prefix: string;
  /** All its fields. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly checked: LoraConfig;
}

/** An adapter whose modules can be resized. */
export interface Adapter {
  /** The safetensors file of all that is not a module; that of the first adapter. */
  readonly path: string;
  readonly format: "PEFT" | "kohya" | "diffusers";
  readonly modules: readonly Module[];
  /** Tensors that are no factors, such as biases and whole modules, which are copied. */
  readonly carried: readonly NamedTensor[];
  readonly metadata: ReadonlyMap<string, string>;
  readonly configs: readonly Config[];
}

const LoraConfig = AdapterConfig.extend(LORA_FIELDS)
  .superRefine(refuseFields(VARIANTS));
type LoraConfig = z.output<typeof LoraConfig>;

/** Prefix that PEFT adds to the name of every tensor. */
const PEFT_PREFIX = "base_model.model.";

/** Field of a file's metadata in which diffusers keeps the configurations of PEFT. */
export const DIFFUSERS_CONFIG = "lora_adapter_metadata";

/** Ends of the names of A and of B. */
const NOTATIONS = [
  [".lora_down", ".lora_up"],
  [".lora_A", ".lora_B"],
  [".lora_embedding_A", ".lora_embedding_B"],
  [".lora.down", ".lora.up"],
  ["_lora.down", "_lora.up"],
  [".lora_linear_layer.down", ".lora_linear_layer.up"],
] as const;

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
 * @throws {SyntaxError} Naming the file and the tensor or the field that cannot be resized.
 */
export async function readAdapter(
  { weights: path, config }: AdapterFiles,
): Promise<Adapter> {
  using file = SafetensorsFile.open(path);
  const fault = (message: string) => new SyntaxError(`"${path}": ${message}`);
  const tensors = new Map(
    [...file.tensors].map(([name, { dtype, shape }]) => [
      name,
      { name, dtype, shape },
    ]),
  );
  for (const [pattern, method] of OTHER_METHODS) {
    const name = tensors.keys().find((it) => pattern.test(it));
    if (name === undefined) continue;
    throw fault(
      `${method} cannot be resized (tensor "${name}"); merge it into its model, and extract a LoRA`,
    );
  }
  const configs = config === undefined
    ? configsIn(file.metadata, fault)
    : [await readConfig(config)];

  const modules: Module[] = [];
  const used = new Set<string>();
  const take = (name: string) => {
    const tensor = tensors.get(name);
    if (tensor !== undefined) used.add(name);
    return tensor;
  };
  for (const name of tensors.keys()) {
    const found = factorNames(name);
    if (found === undefined) continue;
    const a = take(found.a), b = take(found.b);
    if (a === undefined || b === undefined) {
      throw fault(
        `tensor "${name}" lacks its other factor, "${
          a === undefined ? found.a : found.b
        }"`,
      );
    }
    if (found.a !== name) continue;
    if (modules.some((it) => it.name === found.module)) {
      throw fault(`module "${found.module}" has two pairs of factors`);
    }
    const alpha = take(`${found.module}.alpha`);
    modules.push(moduleOf(
      { path, name: found.module, a, b, mid: take(found.mid), alpha },
      (rank) => scaleOf(file, found.module, rank, alpha, configs, fault),
      fault,
    ));
  }
  const carried = [...tensors.values()].filter(({ name }) => !used.has(name));
  if (modules.length === 0) {
    const names = carried.slice(0, 3).map(({ name }) => `"${name}"`);
    throw fault(`it has no LoRA tensors, but ${names.join(", ")}`);
  }
  const lost = carried.find(({ name }) =>
    /\.(alpha|lora_mid\.weight)$/.test(name)
  );
  if (lost !== undefined) {
    throw fault(`tensor "${lost.name}" belongs to no pair of factors`);
  }
  const format = config !== undefined
    ? "PEFT"
    : modules.some(({ alpha }) => alpha !== undefined)
    ? "kohya"
    : "diffusers";
  return { path, format, modules, carried, metadata: file.metadata, configs };
}

/** Names of all tensors of the module of a factor; undefined for other tensors. */
function factorNames(name: string) {
  for (const [down, up] of NOTATIONS) {
    for (const end of [down, up]) {
      const at = name.lastIndexOf(end);
      const rest = name.slice(at + end.length);
      if (at < 1 || !/^(\.default)?(\.weight)?$/.test(rest)) continue;
      const module = name.slice(0, at);
      return {
        module,
        a: module + down + rest,
        b: module + up + rest,
        mid: `${module}.lora_mid${rest}`,
      };
    }
  }
  return undefined;
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
    throw fault(
      `the factors of "${name}" do not fit: ${
        [a, mid, b].filter((it) => it !== undefined)
          .map(({ name, shape }) => `"${name}" has shape [${shape}]`)
          .join(", ")
      }`,
    );
  }
  const odd = [a, b, mid].find((it) => it && !FLOAT_TYPES.includes(it.dtype));
  if (odd !== undefined) {
    throw fault(
      `tensor "${odd.name}" has type ${odd.dtype}, expected ${
        FLOAT_TYPES.join(" or ")
      }`,
    );
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

/** alpha / rank of a module, from its tensor or its configuration; 1 if neither gives an alpha. */
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
  if (config === undefined) return 1;
  const { r, lora_alpha, rank_pattern, alpha_pattern, use_rslora } =
    config.checked;
  const name = module.slice(config.prefix.length);
  const stated = patternValue(rank_pattern, name) ?? r;
  if (stated !== rank) {
    throw fault(
      `the factors of "${module}" have rank ${rank}, but its configuration says ${stated}`,
    );
  }
  const alpha = patternValue(alpha_pattern, name) ?? lora_alpha;
  return alpha / (use_rslora ? Math.sqrt(rank) : rank);
}

async function readConfig(path: string): Promise<Config> {
  const checked = await readJsonFile(path, LoraConfig);
  const fields = JSON.parse(await Deno.readTextFile(path), asWritten);
  return { prefix: PEFT_PREFIX, fields, checked };
}

/** The configurations of PEFT that diffusers keeps in the metadata, a prefix for each model of a pipeline. */
function configsIn(
  metadata: ReadonlyMap<string, string>,
  fault: (message: string) => SyntaxError,
): Config[] {
  const text = metadata.get(DIFFUSERS_CONFIG);
  if (text === undefined) return [];
  const parse = (reviver?: typeof asWritten): [string, unknown][] => {
    try {
      return Object.entries(JSON.parse(text, reviver));
    } catch (error) {
      throw fault(
        `"${DIFFUSERS_CONFIG}" is not JSON: ${(error as Error).message}`,
      );
    }
  };
  const written = parse(asWritten);
  const fields = Object.groupBy(parse(), ([key]) => /^(.*\.)?/.exec(key)![0]);
  return Object.entries(fields).map(([prefix, found]) => {
    const own = (entries: readonly [string, unknown][]) =>
      Object.fromEntries(
        entries.filter(([key]) => key.startsWith(prefix))
          .map(([key, value]) => [key.slice(prefix.length), value]),
      );
    const { success, data, error } = LoraConfig.safeParse({
      peft_type: "LORA",
      ...own(found!),
    });
    if (success) return { prefix, fields: own(written), checked: data };
    throw fault(`"${DIFFUSERS_CONFIG}" is invalid:\n${z.prettifyError(error)}`);
  });
}

/**
 * The weighted sum of adapters of one model: a module of several has the parts of
 * each.
 *
 * @throws {SyntaxError} If they have no module in common, or more than LoRA.
 */
export function weightedSum(
  adapters: readonly (readonly [Adapter, weight: number])[],
): Adapter {
  const [[first]] = adapters as [readonly [Adapter, number]];
  const modules = new Map<string, Module>();
  for (const [adapter, weight] of adapters) {
    const known = adapter.modules.filter(({ name }) => modules.has(name));
    if (adapter !== first) {
      const fault = known.length === 0
        ? `no module of "${first.path}", but "${adapter.modules[0]!.name}"`
        : adapter.carried[0] &&
          `tensor "${adapter.carried[0].name}", which is not LoRA`;
      if (fault !== undefined) {
        throw new SyntaxError(
          `"${adapter.path}" cannot be added: it has ${fault}`,
        );
      }
    }
    for (const own of adapter.modules) {
      const parts = own.parts.map((it) => ({
        ...it,
        scale: weight * it.scale,
      }));
      const before = modules.get(own.name);
      if (before === undefined) {
        modules.set(own.name, { ...own, parts });
        continue;
      }
      if (before.inputs !== own.inputs || before.outputs !== own.outputs) {
        throw new SyntaxError(
          `"${adapter.path}" cannot be added: its module "${own.name}" is [${own.outputs}, ${own.inputs}], and [${before.outputs}, ${before.inputs}] in "${first.path}"`,
        );
      }
      modules.set(own.name, {
        ...before,
        parts: [...before.parts, ...parts],
        rank: before.rank + own.rank,
      });
    }
  }
  return { ...first, modules: [...modules.values()] };
}
