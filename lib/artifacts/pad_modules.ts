import { moduleOf, PEFT_PREFIX } from "../engine/adapters/peft.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import type { AdapterTensors } from "./adapter.ts";

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

/** A LoRA with one rank and the scale alpha / rank for all modules. */
export interface PaddedModules {
  readonly rank: number;
  readonly alpha: number;
  readonly tensors: AdapterTensors;
}

/**
 * Pads all modules to the largest rank, with rows of zeros in `lora_A` and
 * columns of zeros in `lora_B`, and gives them the same scale by multiplying
 * `lora_B`. The adapter computes the same values bit for bit.
 *
 * @throws {SyntaxError} If the ratio of two scales is not a power of two, so that the product would be rounded.
 */
export function padModules(
  tensors: AdapterTensors,
  scales: PeftScales,
): PaddedModules {
  const modules = modulesIn(tensors, scales);
  const [first, ...others] = modules.values();
  if (first === undefined) throw new SyntaxError("it has no LoRA tensors");
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
        `tensor "${name}" has shape [${tensor.shape}], but its rank in "adapter_config.json" is ${module.rank}`,
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

/** Rank, alpha and scale of a module. */
interface Module {
  readonly name: string;
  readonly rank: number;
  readonly alpha: number;
  /** Rounded to float32, as PEFT applies it. */
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
      const name = tensor.slice(PEFT_PREFIX.length)
        .replace(/\.lora_[AB]\.weight$/, "");
      const rank = at(rankPattern, name) ?? r;
      const alpha = at(alphaPattern, name) ?? a;
      const scale = Math.fround(alpha / (stabilized ? Math.sqrt(rank) : rank));
      return [[module, { name, rank, alpha, scale }]];
    }),
  );
}

/** The factor for `lora_B` of a module that takes the scale of the largest one. */
function factorOf(module: Module, largest: Module): number {
  const factor = module.scale / largest.scale;
  if (Number.isInteger(Math.log2(factor))) return factor;
  throw new SyntaxError(
    `the scales of "${module.name}" (${module.scale}) and "${largest.name}" (${largest.scale}) cannot be made equal without rounding; train with one scale, or merge the adapter in PEFT`,
  );
}

/** The value of the first suffix that matches a module name, as PEFT looks it up. */
function at(
  suffixes: Readonly<Record<string, number>>,
  name: string,
): number | undefined {
  return Object.entries(suffixes).find(([suffix]) =>
    `.${name}`.endsWith(`.${suffix}`)
  )
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
