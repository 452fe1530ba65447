import {
  type AdapterKind,
  type AdapterTensors,
  type ModuleTensors,
  type PeftScale,
  resized,
} from "../engine/adapters/adapter.ts";
import { adapterTensor } from "../engine/adapters/registry.ts";
import { PEFT_PREFIX } from "../engine/models/peft.ts";
import { patternValue } from "./lora_config.ts";

/** Ranks and alphas in the configuration of PEFT. */
interface PeftScales extends PeftScale {
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

/** An adapter that is to be merged into a weight. */
export interface WeightUpdate {
  readonly adapter: ModuleTensors;
  readonly rank: number;
  readonly alpha: number;
  /** Rounded to float32, as PEFT applies it. */
  readonly scale: number;
}

/**
 * Pads all modules to the largest rank with zeros, and gives them the same scale
 * by multiplying `lora_B`. The adapter computes the same values bit for bit.
 *
 * LoRA on a module of the head, as `all-linear` of PEFT puts it on BERT's
 * pooler, is kept apart, because a head has no rank.
 *
 * @param isOfHead Tells the modules of the head by the names of their weights.
 * @throws {SyntaxError} If a tensor is missing or of another rank than configured, or the ratio of two scales is not a power of two, so that the product would be rounded.
 */
export function padModules(
  kind: AdapterKind,
  given: AdapterTensors,
  scales: PeftScales,
  isOfHead: (weight: string) => boolean,
): PaddedModules {
  const paths = new Set(
    Object.keys(given).flatMap((name) => adapterTensor(name)?.module ?? []),
  );
  const { head = [], encoder = [] } = Object.groupBy(
    paths,
    (path) => isOfHead(`${path}.weight`) ? "head" : "encoder",
  );
  const modules = new Map(
    encoder.map((path) => [path, updateOf(kind, path, given, scales)]),
  );
  const [first, ...others] = modules;
  if (first === undefined) throw new SyntaxError("it has no LoRA tensors");
  const [largestPath, largest] = others.reduce(
    (best, it) => it[1].rank > best[1].rank ? it : best,
    first,
  );
  /** What makes the scale that of the largest. */
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
    const found = adapterTensor(name);
    if (found === undefined) return [[name, tensor] as const];
    const module = modules.get(found.module);
    if (module === undefined) return [];
    const { shape, values } = resized(tensor, found.of, largest.rank);
    const factor = found.of.scales ? factorOf(found.module, module) : 1;
    const scaled = values.map((value) => factor * value);
    return [[name, { shape, values: scaled }] as const];
  });
  return {
    rank: largest.rank,
    alpha: scales.stabilized
      ? largest.alpha * Math.sqrt(largest.rank)
      : largest.alpha,
    tensors: Object.fromEntries(tensors),
    headUpdates: Object.fromEntries(
      head.map((path) => [
        `${path}.weight`,
        updateOf(kind, path, given, scales),
      ]),
    ),
  };
}

/** Name of a module without PEFT's prefix. */
function nameOf(path: string): string {
  return path.slice(PEFT_PREFIX.length);
}

/** The adapter of a module, with the rank, alpha and scale that PEFT looks up by its name. */
function updateOf(
  kind: AdapterKind,
  path: string,
  tensors: AdapterTensors,
  { rankPattern, alphaPattern, stabilized, ...scale }: PeftScales,
): WeightUpdate {
  const rank = patternValue(rankPattern, nameOf(path)) ?? scale.rank;
  const alpha = patternValue(alphaPattern, nameOf(path)) ?? scale.alpha;
  const adapter = Object.entries(kind.tensors).map(([suffix, of]) => {
    const name = `${path}.${suffix}`;
    const found = tensors[name];
    if (found === undefined) {
      throw new SyntaxError(`tensor "${name}" is missing`);
    }
    const own = found.shape[of.shape.indexOf("rank")] ?? rank;
    if (own === rank) return [suffix, found] as const;
    throw new SyntaxError(
      `tensor "${name}" has shape [${found.shape}], but its rank in "adapter_config.json" is ${rank}`,
    );
  });
  return {
    adapter: Object.fromEntries(adapter),
    rank,
    alpha,
    scale: Math.fround(alpha / (stabilized ? Math.sqrt(rank) : rank)),
  };
}
