import { FACTOR } from "../adapters/lora.ts";
import type { Architecture, Model } from "./model.ts";
import { headTensors } from "./outline.ts";
import type { TargetModules } from "./parameters.ts";
import { ARCHITECTURES } from "./registry.ts";

/** Prefix that PEFT adds to the name of every tensor. */
export const PEFT_PREFIX = "base_model.model.";

/** Shapes of an adapter's tensors by PEFT's names. */
type AdapterShapes = ReadonlyMap<string, readonly number[]>;

/** Name of the module of a LoRA tensor from its layer on, by which PEFT finds it: `layer.0.attention.self.query`; outside of layers, the whole name. */
export function moduleOf(tensor: string): string | undefined {
  const [, name] = FACTOR.exec(tensor) ?? [];
  return name &&
    (/[^.]+\.\d+\..+$/.exec(name)?.[0] ?? name.slice(PEFT_PREFIX.length));
}

/** Modules of an adapter, in the order of its tensors. */
export function modulesOf(tensors: Iterable<string>): string[] {
  return [...new Set([...tensors].flatMap((name) => moduleOf(name) ?? []))];
}

/**
 * Names of target modules as a configuration of PEFT lists them. They are
 * written out from the layer on where PEFT would otherwise adapt modules of the
 * head as well: for `all-linear`, and for names such as `dense`.
 *
 * @param tensors Names of the adapter's tensors
 */
export function peftTargets(
  targets: TargetModules,
  tensors: Iterable<string>,
): string[] {
  const names = [...tensors];
  const isOfHead = (target: string) =>
    names.some((name) =>
      !FACTOR.test(name) && name.endsWith(`.${target}.weight`)
    );
  if (targets !== "all-linear" && !targets.some(isOfHead)) return [...targets];
  return [
    ...new Set(modulesOf(names).map((name) => name.replace(/^.*\.\d+\./, ""))),
  ];
}

/** Modules of the head, which PEFT's configuration lists as `modules_to_save`. */
export function modulesToSave(tensors: Iterable<string>): string[] {
  const names = [...tensors].filter((name) => !FACTOR.test(name))
    .map((name) => name.slice(PEFT_PREFIX.length).split("."));
  const prefixes = new Set(ARCHITECTURES.map(({ prefix }) => prefix));
  const heads = names.map(([first, second]) =>
    prefixes.has(first!) ? second! : first!
  );
  return [...new Set(heads)].sort();
}

/** Number of outputs of an adapter's classification head; 0 without one. */
export function headOutputs(
  shapes: AdapterShapes,
  architecture: Architecture,
): number {
  const { name } = headTensors(architecture).at(-1)!;
  return shapes.get(`${PEFT_PREFIX}${name}`)?.[0] ?? 0;
}

/**
 * Checks the names and shapes of an adapter's LoRA tensors, since PEFT loads an
 * incomplete adapter with only a warning: each of its modules must have A
 * `[rank, in]` and B `[out, rank]` in every layer.
 *
 * @returns Description of the fault, or undefined.
 */
export function findAdapterFault(
  shapes: AdapterShapes,
  rank: number,
): string | undefined {
  if (!shapes.keys().some((name) => FACTOR.test(name))) {
    return "it has no LoRA tensors";
  }
  return findFactorFault(shapes, rank) ??
    findLayerFault(modulesOf(shapes.keys()));
}

function findFactorFault(
  shapes: AdapterShapes,
  rank: number,
): string | undefined {
  const sizes = new Map<string, number>();
  for (const [name, shape] of shapes) {
    const [, module, factor] = FACTOR.exec(name) ?? [];
    if (module === undefined) continue;
    const other = `${module}.lora_${factor === "A" ? "B" : "A"}.weight`;
    if (!shapes.has(other)) return `tensor "${other}" is missing`;
    const [own, size] = factor === "A" ? shape : shape.toReversed();
    // A module has the same shape in every layer.
    const kind = `${module.replace(/\.\d+\./, ".*.")} ${factor}`;
    const expected = sizes.get(kind) ?? size;
    if (own !== rank || size !== expected || shape.length !== 2) {
      const wanted = [rank, expected];
      return `tensor "${name}" has shape [${shape}], expected [${
        factor === "A" ? wanted : wanted.toReversed()
      }]`;
    }
    sizes.set(kind, expected!);
  }
  return undefined;
}

function findLayerFault(modules: readonly string[]): string | undefined {
  const layersOf = new Map<string, Set<number>>();
  for (const name of modules) {
    const [, layer, kind] = /\.(\d+)\.(.+)$/.exec(name) ?? [];
    if (kind === undefined) continue;
    const layers = layersOf.get(kind) ?? new Set();
    layersOf.set(kind, layers.add(Number(layer)));
  }
  const count = 1 +
    Math.max(...[...layersOf.values()].map((layers) => Math.max(...layers)));
  for (const [kind, layers] of layersOf) {
    if (layers.size !== count) {
      return `module "${kind}" has LoRA tensors in ${layers.size} of ${count} layers`;
    }
  }
  return undefined;
}

/**
 * Checks that an adapter has the classification head of its model's
 * architecture and trains nothing else; tensors of the head that start from the
 * pretrained model may be absent.
 *
 * @returns Description of the fault, or undefined.
 */
export function findHeadFault(
  shapes: AdapterShapes,
  architecture: Architecture,
  labels: number,
): string | undefined {
  if (labels === 0) return "it has no classification head";
  const matrices = headTensors(architecture).flatMap(({ name }) => {
    const shape = shapes.get(`${PEFT_PREFIX}${name}`);
    return shape?.length === 2 ? [shape] : [];
  });
  const hidden = matrices[0]?.[1] ?? 0;
  const head = headTensors(architecture, hidden, labels);
  const isPretrained = head.some(({ name, start }) =>
    start === "pretrained" && shapes.has(`${PEFT_PREFIX}${name}`)
  );
  const expected = new Map(
    head.filter(({ start }) => isPretrained || start !== "pretrained")
      .map(({ name, shape }) => [`${PEFT_PREFIX}${name}`, shape]),
  );
  for (const [name, shape] of expected) {
    const found = shapes.get(name);
    if (found === undefined) return `tensor "${name}" is missing`;
    if (String(found) !== String(shape)) {
      return `tensor "${name}" has shape [${found}], expected [${shape}]`;
    }
  }
  const unknown = [...shapes.keys()].find((name) =>
    !FACTOR.test(name) && !expected.has(name)
  );
  return unknown === undefined
    ? undefined
    : `tensor "${unknown}" is not part of a ${architecture.type} adapter`;
}

/**
 * Checks that an adapter fits a model, and has a head with this number of
 * outputs, if it is known.
 *
 * @returns Description of the difference, or undefined.
 */
export function findMisfit(
  shapes: AdapterShapes,
  model: Model,
  outputs?: number,
): string | undefined {
  const [layers, expected] = [shapes.keys(), model.tensors.keys()].map((
    names,
  ) =>
    1 +
    Math.max(...[...names].map((it) => Number(/\.(\d+)\./.exec(it)?.[1] ?? 0)))
  );
  if (layers !== expected) {
    return `it has ${layers} layers, and the model has ${expected}`;
  }
  for (const [name, shape] of shapes) {
    const [, module, factor] = FACTOR.exec(name) ?? [];
    if (module === undefined) continue;
    const target = module.slice(PEFT_PREFIX.length);
    const own = model.tensors.get(`${target}.weight`);
    if (own === undefined) {
      return `the model, a ${model.architecture.type}, has no module "${target}"`;
    }
    const [found, expected] = factor === "A"
      ? [shape[1], own[1]]
      : [shape[0], own[0]];
    if (found !== expected) {
      return `tensor "${name}" has shape [${shape}], and the module [${own}]`;
    }
  }
  return outputs === undefined
    ? undefined
    : findHeadFault(shapes, model.architecture, outputs);
}
