import type { AdapterKind } from "../adapters/adapter.ts";
import { adapterTensor } from "../adapters/registry.ts";
import type { Model } from "./model.ts";
import { headTensors } from "./outline.ts";
import type { TargetModules } from "./parameters.ts";
import { ARCHITECTURES } from "./registry.ts";

/** Prefix that PEFT adds to the name of every tensor. */
export const PEFT_PREFIX = "base_model.model.";

/** Shapes of an adapter's tensors by PEFT's names. */
type AdapterShapes = ReadonlyMap<string, readonly number[]>;

/** Name of a module from its layer on, by which PEFT finds it: `layer.0.attention.self.query`; outside of layers, the whole name. */
export function peftName(module: string): string {
  return /[^.]+\.\d+\..+$/.exec(module)?.[0] ??
    module.replace(PEFT_PREFIX, "");
}

/** Modules of an adapter, in the order of its tensors. */
export function modulesOf(tensors: Iterable<string>): string[] {
  return pathsOf(tensors).map(peftName);
}

/** Whole names of the modules of an adapter, in the order of its tensors. */
function pathsOf(tensors: Iterable<string>): string[] {
  return [
    ...new Set([...tensors].flatMap((it) => adapterTensor(it)?.module ?? [])),
  ];
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
      !adapterTensor(name) && name.endsWith(`.${target}.weight`)
    );
  if (targets !== "all-linear" && !targets.some(isOfHead)) return [...targets];
  return [
    ...new Set(modulesOf(names).map((name) => name.replace(/^.*\.\d+\./, ""))),
  ];
}

/** Modules of the head, which PEFT's configuration lists as `modules_to_save`. */
export function modulesToSave(tensors: Iterable<string>): string[] {
  const names = [...tensors].filter((name) => !adapterTensor(name))
    .map((name) => name.slice(PEFT_PREFIX.length).split("."));
  const prefixes = new Set(ARCHITECTURES.map(({ prefix }) => prefix));
  const heads = names.map(([first, second]) =>
    prefixes.has(first!) ? second! : first!
  );
  return [...new Set(heads)].sort();
}

/** Number of outputs of an adapter's classification head; 0 without one. */
export function headOutputs(shapes: AdapterShapes, model: Model): number {
  const { name } = headTensors(model).at(-1)!;
  return shapes.get(`${PEFT_PREFIX}${name}`)?.[0] ?? 0;
}

/**
 * Checks the names and shapes of the tensors of an adapter's modules, since PEFT
 * loads an incomplete adapter with only a warning: each module must have those of
 * its kind, in every layer.
 *
 * @returns Description of the fault, or undefined.
 */
export function findAdapterFault(
  kind: AdapterKind,
  shapes: AdapterShapes,
  rank: number,
): string | undefined {
  const modules = pathsOf(shapes.keys());
  if (modules.length === 0) return "it has no LoRA tensors";
  const other = shapes.keys().find((name) => {
    const { suffix } = adapterTensor(name) ?? {};
    return suffix !== undefined && !(suffix in kind.tensors);
  });
  if (other !== undefined) {
    return `tensor "${other}" is not part of a ${kind.title}`;
  }
  return findModuleFault(kind, modules, shapes, rank) ??
    findLayerFault(modulesOf(shapes.keys()));
}

function findModuleFault(
  kind: AdapterKind,
  modules: readonly string[],
  shapes: AdapterShapes,
  rank: number,
): string | undefined {
  const sizes = new Map<string, number>();
  for (const module of modules) {
    for (const [suffix, { shape }] of Object.entries(kind.tensors)) {
      const name = `${module}.${suffix}`;
      const expected = shape.map((size, i) => {
        if (size === "rank") return rank;
        // A module has the same shape in every layer.
        const known = `${module.replace(/\.\d+\./, ".*.")} ${size}`;
        if (!sizes.has(known)) sizes.set(known, shapes.get(name)?.[i] ?? 0);
        return sizes.get(known)!;
      });
      const fault = shapeFault(shapes, name, expected);
      if (fault !== undefined) return fault;
    }
  }
}

function shapeFault(
  shapes: AdapterShapes,
  name: string,
  expected: readonly number[],
): string | undefined {
  const found = shapes.get(name);
  if (found === undefined) return `tensor "${name}" is missing`;
  return String(found) === String(expected)
    ? undefined
    : `tensor "${name}" has shape [${found}], expected [${expected}]`;
}

function findLayerFault(modules: readonly string[]): string | undefined {
  const inLayers = modules.flatMap((name) => {
    const [, layer, kind] = /\.(\d+)\.(.+)$/.exec(name) ?? [];
    return kind === undefined ? [] : [{ kind, layer: Number(layer) }];
  });
  const count = 1 + Math.max(...inLayers.map(({ layer }) => layer));
  for (const [kind, { length }] of Map.groupBy(inLayers, (it) => it.kind)) {
    if (length === count) continue;
    return `module "${kind}" has LoRA tensors in ${length} of ${count} layers`;
  }
}

/**
 * Checks that an adapter has the classification head of its model and trains
 * nothing else; tensors of the head that start from the pretrained model may be
 * absent.
 *
 * @returns Description of the fault, or undefined.
 */
export function findHeadFault(
  shapes: AdapterShapes,
  model: Model,
  outputs: number,
): string | undefined {
  if (outputs === 0) return "it has no classification head";
  const head = headTensors(model, outputs);
  const isPretrained = head.some(({ name, start }) =>
    start === "pretrained" && shapes.has(`${PEFT_PREFIX}${name}`)
  );
  const expected = new Map(
    head.filter(({ start }) => isPretrained || start !== "pretrained")
      .map(({ name, shape }) => [`${PEFT_PREFIX}${name}`, shape]),
  );
  for (const [name, shape] of expected) {
    const fault = shapeFault(shapes, name, shape);
    if (fault !== undefined) return fault;
  }
  const unknown = [...shapes.keys()].find((name) =>
    !adapterTensor(name) && !expected.has(name)
  );
  return unknown === undefined
    ? undefined
    : `tensor "${unknown}" is not part of a ${model.architecture.type} adapter`;
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
    const { module, of } = adapterTensor(name) ?? {};
    if (module === undefined) continue;
    const target = module.slice(PEFT_PREFIX.length);
    const own = model.tensors.get(`${target}.weight`);
    if (own === undefined) {
      return `the model, a ${model.architecture.type}, has no module "${target}"`;
    }
    const [outputs, inputs] = own;
    const sizes = { rank: undefined, inputs, outputs };
    if (of!.shape.some((it, i) => (sizes[it] ?? shape[i]) !== shape[i])) {
      return `tensor "${name}" has shape [${shape}], and the module [${own}]`;
    }
  }
  return outputs === undefined
    ? undefined
    : findHeadFault(shapes, model, outputs);
}
