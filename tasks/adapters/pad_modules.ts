import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import { moduleOf } from "../artifacts/module_ranks.ts";
import type { AdapterTensors } from "../artifacts/peft_files.ts";

/** Ranks and alphas of a LoRA as PEFT's configuration gives them. */
export interface PeftScales {
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
export interface PaddedModules {
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
export function padModules(
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
