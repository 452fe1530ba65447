import type { TensorValues } from "../safetensors/writer.ts";
import {
  type AdaptedModule,
  type AdapterKind,
  type AdapterTensors,
  type ModuleTensors,
  resized,
} from "./adapter.ts";
import { dora } from "./dora.ts";
import { lora } from "./lora.ts";

export { LORA_A, LORA_B } from "./lora.ts";

/** Every kind of adapter; the first is the default. */
const KINDS: readonly AdapterKind[] = [lora, dora];

export const ADAPTER_KINDS = KINDS.map(({ name }) => name);

/** The kind of this name, one of {@linkcode ADAPTER_KINDS}. */
export function kindNamed(name = lora.name): AdapterKind {
  return KINDS.find((kind) => kind.name === name)!;
}

/**
 * The kind of an adapter with this configuration of PEFT; undefined if it is
 * another one.
 */
export function kindOf(
  config: Readonly<Record<string, unknown>>,
): AdapterKind | undefined {
  return KINDS.find(({ type }) =>
    TYPE_FIELDS.every((it) => (config[it] || undefined) === type[it])
  );
}

/** Fields of PEFT's configuration that tell kinds apart. */
export const TYPE_FIELDS = [
  ...new Set(KINDS.flatMap(({ type }) => Object.keys(type))),
];

/**
 * Tensors of all kinds by suffix of their names, which mean the same in all
 * kinds, as in PEFT.
 */
const TENSORS = new Map(
  KINDS.flatMap(({ tensors }) => Object.entries(tensors)),
);

/**
 * The module of a tensor of an adapter, what follows its name, and what tensor
 * that is; undefined for tensors of the head.
 */
export function adapterTensor(name: string) {
  for (const [suffix, of] of TENSORS) {
    if (!name.endsWith(`.${suffix}`)) continue;
    return { module: name.slice(0, -suffix.length - 1), suffix, of };
  }
}

/** The adapters by module, with the prefix of the tensors. */
function byModule(tensors: AdapterTensors): Map<string, ModuleTensors> {
  const modules = new Map<string, ModuleTensors>();
  for (const [name, tensor] of Object.entries(tensors)) {
    const part = adapterTensor(name);
    if (part === undefined) continue;
    const { module, suffix } = part;
    modules.set(module, { ...modules.get(module), [suffix]: tensor });
  }
  return modules;
}

/** Keeps the first ranks of each module. */
export function cutAdapter(
  tensors: AdapterTensors,
  rank: number,
): AdapterTensors {
  return Object.fromEntries(
    Object.entries(tensors).map(([name, tensor]) => {
      const part = adapterTensor(name);
      return [name, part ? resized(tensor, part.of, rank) : tensor];
    }),
  );
}

/** Sorts the ranks of all modules; see {@linkcode AdapterKind.sort}. */
export function sortAdapter(
  kind: AdapterKind,
  tensors: AdapterTensors,
  kept?: number,
  scale?: number,
): AdapterTensors {
  const sorted = { ...tensors };
  for (const [module, adapter] of byModule(tensors)) {
    const changed = kind.sort(adapter, kept, scale);
    for (const [suffix, tensor] of Object.entries(changed)) {
      sorted[`${module}.${suffix}`] = tensor;
    }
  }
  return sorted;
}

/** Floating-point operations of {@linkcode sortAdapter}. */
export function sortFlops(
  { kind, modules, rank }: {
    readonly kind: AdapterKind;
    readonly modules: readonly AdaptedModule[];
    readonly rank: number;
  },
): number {
  return modules.reduce((sum, it) => sum + kind.sortFlops(it, rank), 0);
}

/**
 * Weights with an adapter merged into them, beside the adapter's other tensors.
 *
 * @param weights By the names of the modules, `[out, in]` each
 * @param tensors By the names of the modules as well
 */
export function mergeAdapter(
  kind: AdapterKind,
  weights: Readonly<Record<string, TensorValues>>,
  tensors: AdapterTensors,
  scale: number,
): Record<string, TensorValues> {
  const merged = { ...weights };
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!adapterTensor(name)) merged[name] = tensor;
  }
  for (const [module, adapter] of byModule(tensors)) {
    const target = `${module}.weight`;
    const { shape, values } = weights[target]!;
    const weight = values as Float32Array;
    merged[target] = { shape, values: kind.merge(weight, adapter, scale) };
  }
  return merged;
}
