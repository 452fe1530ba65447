import type { AdapterTensors } from "../engine/adapters/lora.ts";
import { moduleOf, PEFT_PREFIX } from "../engine/models/peft.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";

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
  readonly a: Float32Array;
  /** `lora_B`: `[out, rank]` */
  readonly b: Float32Array;
  readonly rank: number;
  readonly scale: number;
  /** Shape of the weight: `[out, in]` */
  readonly shape: readonly number[];
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
 * @throws {SyntaxError} If the ratio of two scales is not a power of two, so that the product would be rounded.
 */
export function padModules(
  given: AdapterTensors,
  scales: PeftScales,
  isOfHead: (weight: string) => boolean,
): PaddedModules {
  const { head = [], encoder = [] } = Object.groupBy(
    Object.entries(given),
    ([name]) =>
      LORA.test(name) && isOfHead(weightOf(name)) ? "head" : "encoder",
  );
  const tensors = Object.fromEntries(encoder);
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
    checkRank(name, tensor, module);
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
    headUpdates: updatesOf(Object.fromEntries(head), scales),
  };
}

const LORA = /\.lora_[AB]\.weight$/;

/** Name of the weight that a LoRA tensor adapts. */
function weightOf(tensor: string): string {
  return tensor.replace(LORA, ".weight");
}

/** @throws {SyntaxError} If a LoRA tensor has another rank than the configuration says. */
function checkRank(
  name: string,
  { shape }: TensorValues,
  { rank }: Module,
): void {
  if (shape[name.includes(".lora_A.") ? 0 : 1] === rank) return;
  throw new SyntaxError(
    `tensor "${name}" has shape [${shape}], but its rank in "adapter_config.json" is ${rank}`,
  );
}

function updatesOf(
  tensors: AdapterTensors,
  scales: PeftScales,
): Record<string, WeightUpdate> {
  const modules = modulesIn(tensors, scales);
  return Object.fromEntries(
    Object.entries(tensors).flatMap(([name, a]) => {
      if (!name.includes(".lora_A.")) return [];
      const other = name.replace(".lora_A.", ".lora_B.");
      const b = tensors[other];
      if (b === undefined) {
        throw new SyntaxError(`tensor "${other}" is missing`);
      }
      const module = modules.get(moduleOf(name)!)!;
      checkRank(name, a, module);
      checkRank(other, b, module);
      return [[weightOf(name), {
        a: Float32Array.from(a.values),
        b: Float32Array.from(b.values),
        rank: module.rank,
        scale: module.scale,
        shape: [b.shape[0]!, a.shape[1]!],
      }]];
    }),
  );
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
      const name = tensor.slice(PEFT_PREFIX.length).replace(LORA, "");
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
