import { type AdapterTensors, FACTOR } from "../engine/adapters/lora.ts";
import { PEFT_PREFIX } from "../engine/models/peft.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import { patternValue } from "./lora_config.ts";

/** Ranks and alphas in the configuration of PEFT. */
interface PeftScales {
  readonly rank: number;
  readonly alpha: number;
  /** Ranks of modules that differ from `rank`, by module name suffix. */
  readonly rankPattern: Readonly<Record<string, number>>;
  /** Alphas of modules that differ from `alpha`, by module name suffix. */
  readonly alphaPattern: Readonly<Record<string, number>>;
  /** True if the scale is alpha / sqrt(rank) rather than alpha / rank. */
  readonly stabilized: boolean;
}

/** A LoRA with one rank and the scale alpha / rank for all modules of the encoder. */
export interface PaddedModules {
  readonly rank: number;
  readonly alpha: number;
  readonly tensors: AdapterTensors;
  /** LoRA on modules of the head, by the names of the weights that it adapts. */
  readonly headUpdates: Readonly<Record<string, WeightUpdate>>;
}

/** LoRA that is to be added to a weight: `scale B A`. */
export interface WeightUpdate {
  /** `lora_A`: `[rank, in]` */
  readonly a: TensorValues;
  /** `lora_B`: `[out, rank]` */
  readonly b: TensorValues;
  readonly rank: number;
  readonly alpha: number;
  /** Rounded to float32, as PEFT applies it. */
  readonly scale: number;
}

/**
 * Pads all modules to the largest rank, with rows of zeros in `lora_A` and
 * columns of zeros in `lora_B`, and gives them the same scale by multiplying
 * `lora_B`. The adapter computes the same values bit for bit.
 *
 * LoRA on a module of the head, as `all-linear` of PEFT puts it on BERT's
 * pooler, is kept apart, because a head has no rank.
 *
 * @param isOfHead Tells the modules of the head by the names of their weights.
 * @throws {SyntaxError} If a factor is missing or of another rank than configured, or the ratio of two scales is not a power of two, so that the product would be rounded.
 */
export function padModules(
  given: AdapterTensors,
  scales: PeftScales,
  isOfHead: (weight: string) => boolean,
): PaddedModules {
  const paths = new Set(
    Object.keys(given).flatMap((name) => FACTOR.exec(name)?.[1] ?? []),
  );
  const { head = [], encoder = [] } = Object.groupBy(
    paths,
    (path) => isOfHead(`${path}.weight`) ? "head" : "encoder",
  );
  const modules = new Map(
    encoder.map((path) => [path, updateOf(path, given, scales)]),
  );
  const [first, ...others] = modules;
  if (first === undefined) throw new SyntaxError("it has no LoRA tensors");
  const [largestPath, largest] = others.reduce(
    (best, it) => it[1].rank > best[1].rank ? it : best,
    first,
  );
  /** What `lora_B` is multiplied by. */
  const factorOf = (path: string, { scale }: WeightUpdate) => {
    const factor = scale / largest.scale;
    if (Number.isInteger(Math.log2(factor))) return factor;
    throw new SyntaxError(
      `the scales of "${nameOf(path)}" (${scale}) and "${
        nameOf(largestPath)
      }" (${largest.scale}) cannot be made equal without rounding; train with one scale, or merge the adapter in PEFT`,
    );
  };
  const tensors = Object.entries(given).flatMap(([name, tensor]) => {
    const [, path, letter] = FACTOR.exec(name) ?? [];
    if (path === undefined) return [[name, tensor] as const];
    const module = modules.get(path);
    if (module === undefined) return [];
    const [rows, columns] = tensor.shape as [number, number];
    const padded = letter === "A"
      ? paddedTo([largest.rank, columns], tensor, 1)
      : paddedTo([rows, largest.rank], tensor, factorOf(path, module));
    return [[name, padded] as const];
  });
  return {
    rank: largest.rank,
    alpha: scales.stabilized
      ? largest.alpha * Math.sqrt(largest.rank)
      : largest.alpha,
    tensors: Object.fromEntries(tensors),
    headUpdates: Object.fromEntries(
      head.map((path) => [`${path}.weight`, updateOf(path, given, scales)]),
    ),
  };
}

/** Name of a module without PEFT's prefix. */
function nameOf(path: string): string {
  return path.slice(PEFT_PREFIX.length);
}

/** The factors of a module, with the rank, alpha and scale that PEFT looks up by its name. */
function updateOf(
  path: string,
  tensors: AdapterTensors,
  { rank: r, alpha: a, rankPattern, alphaPattern, stabilized }: PeftScales,
): WeightUpdate {
  const rank = patternValue(rankPattern, nameOf(path)) ?? r;
  const alpha = patternValue(alphaPattern, nameOf(path)) ?? a;
  const factor = (letter: "A" | "B"): TensorValues => {
    const name = `${path}.lora_${letter}.weight`;
    const found = tensors[name];
    if (found === undefined) {
      throw new SyntaxError(`tensor "${name}" is missing`);
    }
    if (found.shape[letter === "A" ? 0 : 1] === rank) return found;
    throw new SyntaxError(
      `tensor "${name}" has shape [${found.shape}], but its rank in "adapter_config.json" is ${rank}`,
    );
  };
  return {
    a: factor("A"),
    b: factor("B"),
    rank,
    alpha,
    scale: Math.fround(alpha / (stabilized ? Math.sqrt(rank) : rank)),
  };
}

/** A matrix with zeros below and to the right up to a shape, multiplied by a factor. */
function paddedTo(
  shape: readonly [rows: number, columns: number],
  { shape: [rows, columns], values }: TensorValues,
  factor: number,
): TensorValues {
  const padded = new Float32Array(shape[0] * shape[1]);
  for (let row = 0; row < rows!; row++) {
    for (let column = 0; column < columns!; column++) {
      padded[row * shape[1] + column] = factor *
        values[row * columns! + column]!;
    }
  }
  return { shape, values: padded };
}
