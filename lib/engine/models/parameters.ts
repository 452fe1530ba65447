import type { AdaptedModule } from "../adapters/adapter.ts";
import { kindNamed } from "../adapters/registry.ts";
import { normal, seededRandom } from "../random.ts";
import {
  elementCount,
  FLOAT_TYPES,
  type SafetensorsFile,
} from "../safetensors/reader.ts";
import type { TensorValues } from "../safetensors/writer.ts";
import { transpose } from "../vectors.ts";
import type { Model, Parameter, ParameterLayout } from "./model.ts";
import {
  type ClassifierShape,
  encoderProducts,
  headTensors,
} from "./outline.ts";

/** What is trained besides the head. */
export type Trainable =
  | {
    readonly rank: number;
    /** Name of the kind of adapter, LoRA by default. */
    readonly adapter?: string | undefined;
    /** By default those of the architecture. */
    readonly targetModules?: TargetModules | undefined;
    /**
     * Rate of the dropout of the adapters' inputs in training, 0 by default.
     */
    readonly loraDropout?: number | undefined;
  }
  | "head"
  | "all";

/**
 * Modules that carry adapters, as PEFT names them: ends of names, or every
 * linear module of the encoder.
 */
export type TargetModules = readonly string[] | "all-linear";

/**
 * Lays out what is trained of a model.
 *
 * @throws {RangeError} If no module has the name of a target.
 */
export function parameterLayout(
  model: Model,
  outputs: number,
  trained: Trainable,
): ParameterLayout {
  const isAdapted = typeof trained === "object";
  const adapted: Partial<Extract<Trainable, object>> = isAdapted ? trained : {};
  const { rank = 0, adapter, loraDropout = 0 } = adapted;
  const { targetModules = model.architecture.targetModules } = adapted;
  const modules = isAdapted ? adaptedModules(model, targetModules) : [];
  const entries = new Map<string, Parameter>();
  let offset = 0;
  const add = (entry: Omit<Parameter, "offset">) => {
    entries.set(entry.name, { ...entry, offset });
    offset += elementCount(entry.shape);
  };
  const kind = kindNamed(adapter);
  modules.forEach(({ name, inputs, outputs }, module) => {
    const sizes = { rank, inputs, outputs };
    for (const [suffix, of] of Object.entries(kind.tensors)) {
      const shape = of.shape.map((it) => sizes[it]);
      const isTransposed = of.shape[1] === "rank";
      add({
        name: `${name}.${suffix}`,
        shape: isTransposed ? shape.reverse() : shape,
        start: of.start,
        module,
        isTransposed,
      });
    }
  });
  if (trained === "all") {
    for (const [name, shape] of model.tensors) {
      add({ name, shape, start: "pretrained" });
    }
  }
  for (const tensor of headTensors(model, outputs)) add(tensor);
  return { rank, outputs, kind, loraDropout, modules, entries, size: offset };
}

function adaptedModules(model: Model, targets: TargetModules): AdaptedModule[] {
  const all = encoderProducts(model).flat();
  const named = targets === "all-linear" ? all : targets;
  if (named.length === 0) {
    throw new RangeError(
      "targetModules names no module; leave it out for the model's defaults",
    );
  }
  const endsIn = (name: string, target: string) =>
    `.${name}`.endsWith(`.${target}`);
  const unknown = named.find((it) => !all.some((name) => endsIn(name, it)));
  if (unknown !== undefined) {
    const ends = new Set(all.map((name) => name.replace(/^.*\.\d+\./, "")));
    throw new RangeError(
      `targetModules: no linear module of the model ends in "${unknown}"; it has ${
        [...ends].map((end) => `"${end}"`).join(", ")
      }`,
    );
  }
  const adapted = all.filter((name) => named.some((it) => endsIn(name, it)));
  return adapted.map((name) => {
    const [outputs, inputs] = model.tensors.get(`${name}.weight`)!;
    return { name, inputs: inputs!, outputs: outputs! };
  });
}

/**
 * Values at the start of training: adapters as their kind says, the head as its
 * architecture does.
 *
 * @param file The pretrained model
 * @param seed Determines the adapters and the head; the head is the same
 * whether it is trained alone or with all weights
 * @returns `[size]`
 * @throws {SyntaxError} Naming the tensor that is missing or has another shape.
 */
export function startValues(
  file: SafetensorsFile,
  { model, layout: { entries, size, modules } }: ClassifierShape,
  seed: number,
): Float32Array<ArrayBuffer> {
  const random = seededRandom(seed, "init");
  const { has, read } = storedTensors(file, model);
  const flat = new Float32Array(size);
  for (const entry of entries.values()) {
    const { name, shape, offset, fallback, deviation = 0.02 } = entry;
    const values = flat.subarray(offset, offset + elementCount(shape));
    const isNew = entry.start === "pretrained" && fallback !== undefined &&
      !has(name);
    const start = isNew ? fallback : entry.start;
    if (start === "pretrained") read(name, shape, values);
    else if (start === "uniform") {
      const bound = 1 / Math.sqrt(shape[1]!);
      values.set(values.map(() => (2 * random.next() - 1) * bound));
    } else if (start === "normal") {
      values.set(values.map(() => deviation * normal(random)));
    } else if (start === "ones") values.fill(1);
    else if (typeof start === "function") {
      const module = modules[entry.module!]!;
      const { inputs, outputs } = module;
      const weight = read(`${module.name}.weight`, [outputs, inputs]);
      values.set(start(weight, module));
    }
  }
  return flat;
}

/**
 * 1 for each value that weight decay shrinks: all but biases and
 * normalizations. `[size]`
 */
export function decayedValues(
  { entries, size }: ParameterLayout,
): Float32Array<ArrayBuffer> {
  const decayed = new Float32Array(size);
  for (const { shape, offset } of entries.values()) {
    if (shape.length > 1) decayed.fill(1, offset, offset + elementCount(shape));
  }
  return decayed;
}

/**
 * The tensors of a flat vector in memory, as PyTorch has them.
 *
 * @param prefix Put before every name
 */
export function toTensors(
  flat: Float32Array,
  { entries }: ParameterLayout,
  prefix = "",
): Record<string, TensorValues> {
  return Object.fromEntries(
    [...entries.values()].map((entry) => {
      const { name, shape, offset } = entry;
      const values = flat.slice(offset, offset + elementCount(shape));
      return [
        `${prefix}${name}`,
        entry.isTransposed
          ? { shape: shape.toReversed(), values: transpose(values, shape) }
          : { shape, values },
      ];
    }),
  );
}

/**
 * The flat vector of tensors in memory; the inverse of {@linkcode toTensors}.
 *
 * @param read Gives the values of a tensor after checking its shape
 * @returns `[size]`
 */
export function fromTensors(
  read: (name: string, shape: readonly number[]) => Float32Array,
  { entries, size }: ParameterLayout,
  prefix = "",
): Float32Array<ArrayBuffer> {
  const flat = new Float32Array(size);
  for (const entry of entries.values()) {
    const { name, shape, offset } = entry;
    const stored = entry.isTransposed ? shape.toReversed() : shape;
    const values = read(`${prefix}${name}`, stored);
    flat.set(entry.isTransposed ? transpose(values, stored) : values, offset);
  }
  return flat;
}

/**
 * The tensors in a model's file, by their names in transformers' classifier.
 * The file may hold the encoder alone, without the prefix, and that of the
 * first BERTs has old names of what layer normalization learns.
 */
export function storedTensors(file: SafetensorsFile, model: Model) {
  const { path, tensors } = file;
  const prefix = `${model.architecture.prefix}.`;
  const [first] = model.tensors.keys();
  const isBare = tensors.has(first!.slice(prefix.length));
  const stored = (name: string): string => {
    const bare = isBare && name.startsWith(prefix)
      ? name.slice(prefix.length)
      : name;
    if (tensors.has(bare)) return bare;
    const old = bare.replace(/LayerNorm\.weight$/, "LayerNorm.gamma")
      .replace(/LayerNorm\.bias$/, "LayerNorm.beta");
    return tensors.has(old) ? old : bare;
  };
  /** What is wrong with a tensor, to follow the name of the file. */
  const faultOf = (name: string, shape: readonly number[]) => {
    const storedName = stored(name);
    const entry = tensors.get(storedName);
    if (entry === undefined) return `has no tensor "${storedName}"`;
    if (entry.shape.join() !== shape.join()) {
      return `has tensor "${storedName}" with shape [${entry.shape}], but config.json requires [${shape}]`;
    }
    if (!FLOAT_TYPES.includes(entry.dtype)) {
      return `has tensor "${storedName}" of type ${entry.dtype}, expected ${
        FLOAT_TYPES.join(" or ")
      }`;
    }
  };
  return {
    has: (name: string) => tensors.has(stored(name)),
    faultOf,
    /**
     * Reads a tensor into memory given or new.
     *
     * @throws {SyntaxError} Naming the tensor that is missing or has another
     * shape.
     */
    read(
      name: string,
      shape: readonly number[],
      into?: Float32Array<ArrayBuffer>,
    ): Float32Array {
      const fault = faultOf(name, shape);
      if (fault !== undefined) throw new SyntaxError(`"${path}" ${fault}`);
      return file.floats(stored(name), into);
    },
  };
}

/**
 * Checks that a file has every pretrained tensor of a model, by its header
 * alone.
 *
 * @throws {SyntaxError} Naming the tensors that are missing or have another
 * shape or type.
 */
export function checkTensors(file: SafetensorsFile, model: Model): void {
  const { has, faultOf } = storedTensors(file, model);
  const head = headTensors(model)
    .filter(({ name, start, fallback }) =>
      start === "pretrained" && (fallback === undefined || has(name))
    )
    .map(({ name, shape }) => [name, shape] as const);
  const faults = [...model.tensors, ...head]
    .flatMap(([name, shape]) => faultOf(name, shape) ?? []);
  if (faults.length === 0) return;
  const more = faults.length - MAX_FAULTS;
  throw new SyntaxError(
    `"${file.path}" ${faults.slice(0, MAX_FAULTS).join("; it ")}${
      more > 0 ? `; ${more} more tensors do not fit config.json` : ""
    }`,
  );
}

/** Maximum number of tensors that a message names. */
const MAX_FAULTS = 3;

/**
 * The tensors of a model's encoder in memory, as its file has them.
 *
 * @throws {SyntaxError} Naming the tensor that is missing or has another shape.
 */
export function encoderTensors(
  file: SafetensorsFile,
  model: Model,
): Record<string, TensorValues> {
  const { read } = storedTensors(file, model);
  return Object.fromEntries(
    [...model.tensors].map(([name, shape]) => [
      name,
      { shape, values: read(name, shape) },
    ]),
  );
}
