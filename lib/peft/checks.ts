// What is wrong with the tensors of an adapter, which PEFT does not say: it
// loads an incomplete one with only a warning.
import type {
  AdapterKind,
  AdapterTensors,
} from "../engine/adapters/adapter.ts";
import { adapterTensor } from "../engine/adapters/registry.ts";
import type { Model } from "../engine/models/model.ts";
import { headTensors } from "../engine/models/outline.ts";
import { modelNameOf, pathsOf, PEFT_PREFIX } from "./names.ts";

/** The tensors of an adapter by PEFT's names. */
type Shapes = Readonly<Record<string, Pick<AdapterTensors[string], "shape">>>;

/**
 * Number of outputs of an adapter's classification head; 0 without one, and 1
 * of a language head, of which an adapter has nothing.
 */
export function headOutputs(tensors: Shapes, model: Model): number {
  const last = headTensors(model).at(-1);
  if (last === undefined) return 1;
  return tensors[`${PEFT_PREFIX}${last.name}`]?.shape[0] ?? 0;
}

/**
 * Checks the names and shapes of the tensors of an adapter's modules, since
 * PEFT loads an incomplete adapter with only a warning: each module must have
 * those of its kind, in every layer.
 *
 * @returns Description of the fault, or undefined.
 */
export function findAdapterFault(
  kind: AdapterKind,
  tensors: Shapes,
  rank: number,
): string | undefined {
  const names = Object.keys(tensors);
  const modules = pathsOf(names);
  if (modules.length === 0) return "it has no LoRA tensors";
  const other = names.find((name) => {
    const { suffix } = adapterTensor(name) ?? {};
    return suffix !== undefined && !(suffix in kind.tensors);
  });
  if (other) return `tensor "${other}" is not part of a ${kind.title}`;
  const layerOf = (module: string) => /\.(\d+)\.(.+)$/.exec(module) ?? [];
  const layers = 1 +
    Math.max(...modules.map((it) => Number(layerOf(it)[1] ?? 0)));
  const byLayer = Map.groupBy(
    modules,
    (it) => it.replace(/\.\d+\./, ".*."),
  );
  for (const ofLayers of byLayer.values()) {
    // A module has the same shape in every layer.
    const sizes: Record<string, number> = { rank };
    for (const module of ofLayers) {
      for (const [suffix, { shape }] of Object.entries(kind.tensors)) {
        const name = `${module}.${suffix}`;
        for (const [i, size] of shape.entries()) {
          if (size in sizes) continue;
          sizes[size] = tensors[name]?.shape[i] ?? 0;
        }
        const expected = shape.map((size) => sizes[size]!);
        const fault = shapeFault(tensors, name, expected);
        if (fault !== undefined) return fault;
      }
    }
    const [, , name] = layerOf(ofLayers[0]!);
    if (name !== undefined && ofLayers.length !== layers) {
      return `module "${name}" has LoRA tensors in ${ofLayers.length} of ${layers} layers`;
    }
  }
}

/** What is wrong with the shape of a tensor, if anything is. */
export function shapeFault(
  tensors: Shapes,
  name: string,
  expected: readonly number[],
): string | undefined {
  const shape = tensors[name]?.shape;
  if (shape === undefined) return `tensor "${name}" is missing`;
  return String(shape) === String(expected)
    ? undefined
    : `tensor "${name}" has shape [${shape}], expected [${expected}]`;
}

/**
 * Checks that an adapter has the classification head of its model and trains
 * nothing else; tensors of the head that start from the pretrained model may be
 * absent.
 *
 * @returns Description of the fault, or undefined.
 */
export function findHeadFault(
  tensors: Shapes,
  model: Model,
  outputs: number,
): string | undefined {
  if (outputs === 0) return "it has no classification head";
  const head = headTensors(model, outputs);
  const isPretrained = head.some(({ name, start }) =>
    start === "pretrained" && `${PEFT_PREFIX}${name}` in tensors
  );
  const expected = new Map(
    head.filter(({ start }) => isPretrained || start !== "pretrained")
      .map(({ name, shape }) => [`${PEFT_PREFIX}${name}`, shape]),
  );
  for (const [name, shape] of expected) {
    const fault = shapeFault(tensors, name, shape);
    if (fault !== undefined) return fault;
  }
  const unknown = Object.keys(tensors).find((name) =>
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
 * @throws {SyntaxError} Saying what does not fit.
 */
export function checkFit(
  tensors: Shapes,
  model: Model,
  outputs?: number,
): void {
  const misfit = misfitOf(tensors, model) ??
    (outputs === undefined
      ? undefined
      : findHeadFault(tensors, model, outputs));
  if (misfit === undefined) return;
  throw new SyntaxError(
    `The adapter does not fit the model: ${misfit}; connect the model on which it was trained, with LoRA in every layer`,
  );
}

/** The layers of a model, by the numbers in names of tensors. */
function layerCount(names: readonly string[]): number {
  const numbers = names.map((it) => Number(/\.(\d+)\./.exec(it)?.[1] ?? 0));
  return 1 + Math.max(...numbers);
}

function misfitOf(tensors: Shapes, model: Model): string | undefined {
  const layers = layerCount(Object.keys(tensors));
  const expected = layerCount([...model.tensors.keys()]);
  if (layers !== expected) {
    return `it has ${layers} layers, and the model has ${expected}`;
  }
  for (const [name, { shape }] of Object.entries(tensors)) {
    const tensor = adapterTensor(name);
    if (tensor === undefined) continue;
    const { module, of } = tensor;
    const target = modelNameOf(module, model);
    const moduleShape = model.tensors.get(`${target}.weight`);
    if (moduleShape === undefined) {
      return `the model, a ${model.architecture.type}, has no module "${target}"`;
    }
    const [outputs, inputs] = moduleShape;
    const sizes = { inputs, outputs };
    const fits = of.shape.every((size, i) =>
      size === "rank" || shape[i] === sizes[size]
    );
    if (!fits) {
      return `tensor "${name}" has shape [${shape}], and the module [${moduleShape}]`;
    }
  }
}
