import { DTYPE_BYTES, elementCount } from "../engine/safetensors/reader.ts";
import {
  type Adapter,
  type Config,
  DIFFUSERS_CONFIG,
  type Module,
  type NamedTensor,
} from "./adapter.ts";

// What the files of a resized adapter say: each module keeps its scale, alpha /
// rank, so alphas change with the ranks.

/**
 * The tensors of a module at a rank, and the scale that its alpha then gives.
 */
export function tensorsAt(
  { parts: [part], scale, alpha }: Module,
  rank: number,
  dtype: string | undefined,
) {
  const { a, b, mid } = part!;
  const typed = (tensor: NamedTensor, shape: readonly number[]) => ({
    name: tensor.name,
    dtype: dtype ?? tensor.dtype,
    shape,
  });
  const kernel = mid === undefined ? a.shape.slice(2) : mid.shape.slice(2);
  // Rounded to half precision, it would change the factors.
  const written = alpha && {
    ...alpha,
    dtype: "F32",
    value: Math.fround(scale * rank),
  };
  return {
    a: typed(a, [rank, a.shape[1]!, ...kernel]),
    b: typed(b, [b.shape[0]!, rank, ...b.shape.slice(2)]),
    alpha: written,
    scale: written === undefined ? scale : written.value / rank,
  };
}

/** Bytes of both factors of a module at a rank. */
export function factorBytes(
  module: Module,
  rank: number,
  dtype: string | undefined,
): number {
  const { a, b } = tensorsAt(module, rank, dtype);
  return [a, b].reduce(
    (sum, { dtype, shape }) =>
      sum + elementCount(shape) * DTYPE_BYTES.get(dtype)!,
    0,
  );
}

/** Ranks of modules by name. */
export type Ranks = ReadonlyMap<string, number>;

/**
 * `adapter_config.json` at other ranks; undefined for a file of another format.
 */
export function configAt(adapter: Adapter, ranks: Ranks): string | undefined {
  if (adapter.format !== "PEFT") return undefined;
  const [config] = adapter.configs;
  return JSON.stringify(fieldsAt(config!, adapter, ranks), null, 2) + "\n";
}

/**
 * The fields of a configuration at other ranks: each module keeps its scale.
 */
function fieldsAt(
  { prefix, fields, checked }: Config,
  { modules, path }: Adapter,
  ranks: Ranks,
) {
  const configured = modules.filter(({ name }) => name.startsWith(prefix));
  const alphaOf = ({ name, scale }: Module) => {
    const rank = ranks.get(name)!;
    // Rounding errors of the division and the product.
    const alpha = scale * (checked.use_rslora ? Math.sqrt(rank) : rank);
    return Number(alpha.toPrecision(15));
  };
  const largest = configured.reduce((best, it) =>
    ranks.get(it.name)! > ranks.get(best.name)! ? it : best
  );
  const r = ranks.get(largest.name)!;
  const lora_alpha = alphaOf(largest);
  const names = configured.map(({ name }) => name.slice(prefix.length));
  // The first key that ends a name counts: a name that another one ends is
  // written as well, and before it.
  const pattern = (valueOf: (module: Module) => number, usual: number) => {
    const values = configured.map((it, i) => [names[i]!, valueOf(it)] as const);
    const odd = new Set(
      values.flatMap(([name, value]) => value === usual ? [] : name),
    );
    const isMatched = (name: string) =>
      name.split(".").some((_, i, parts) => odd.has(parts.slice(i).join(".")));
    return Object.fromEntries(
      values.filter(([name]) => isMatched(name))
        .sort(([a], [b]) => b.length - a.length),
    );
  };
  const isAdded = configured.some(({ parts: [part] }) => part!.path !== path);
  return {
    ...fields,
    ...(isAdded && { target_modules: names, exclude_modules: null }),
    r,
    lora_alpha,
    rank_pattern: pattern(({ name }) => ranks.get(name)!, r),
    alpha_pattern: pattern(alphaOf, lora_alpha),
  };
}

/** Fields of kohya's metadata that hold hashes of the tensors. */
const HASHES = ["sshs_model_hash", "sshs_legacy_hash"];

/**
 * The metadata of the file at other ranks. Hashes of the tensors before are
 * left out.
 */
export function metadataAt(
  adapter: Adapter,
  ranks: Ranks,
): Map<string, string> {
  const { metadata, modules, configs, format } = adapter;
  const changed = new Map(
    [...metadata].filter(([key]) => !HASHES.includes(key)),
  );
  if (metadata.has(DIFFUSERS_CONFIG)) {
    const fields = configs.flatMap((config) =>
      Object.entries(fieldsAt(config, adapter, ranks))
        .map(([key, value]) => [`${config.prefix}${key}`, value])
    );
    changed.set(
      DIFFUSERS_CONFIG,
      JSON.stringify(Object.fromEntries(fields), null, 2),
    );
  }
  if (format !== "kohya") return changed;
  const oneOf = (values: readonly number[]) =>
    new Set(values).size === 1 ? String(values[0]) : "Dynamic";
  const isConv = ({ parts: [part] }: Module) =>
    (part!.mid ?? part!.a).shape.slice(2).some((size) => size > 1);
  const conv = modules.filter(isConv);
  const linear = modules.filter((it) => !isConv(it));
  const dimOf = (some: readonly Module[]) =>
    oneOf(some.map(({ name }) => ranks.get(name)!));
  const alphaOf = (some: readonly Module[]) =>
    oneOf(
      some.map((it) => tensorsAt(it, ranks.get(it.name)!, undefined))
        .map(({ alpha, scale, a }) => alpha?.value ?? scale * a.shape[0]!),
    );
  const main = linear.length > 0 ? linear : conv;
  const before = Math.max(...modules.map(({ rank }) => rank));
  const comment = metadata.get("ss_training_comment");
  changed.set("ss_network_dim", dimOf(main));
  changed.set("ss_network_alpha", alphaOf(main));
  changed.set(
    "ss_training_comment",
    `resized from rank ${before} to ${dimOf(main)}; ${comment ?? ""}`,
  );
  const args = metadata.get("ss_network_args");
  if (conv.length > 0 && args !== undefined) {
    changed.set(
      "ss_network_args",
      args.replace(/("conv_dim": *")[^"]*/, `$1${dimOf(conv)}`)
        .replace(/("conv_alpha": *")[^"]*/, `$1${alphaOf(conv)}`),
    );
  }
  return changed;
}
