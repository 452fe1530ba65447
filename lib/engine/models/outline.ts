import {
  type Architecture,
  type Description,
  forward,
  type HeadName,
  type HeadTensor,
  type Model,
  type ParameterLayout,
} from "./model.ts";
import { ShapePass } from "./shape_pass.ts";

/** Completes the description of a model with the tensors that its encoder declares. */
export function modelOf(
  architecture: Architecture,
  description: Description,
): Model {
  const { positions, padId, countsFromPadding } = description;
  const maxLength = countsFromPadding ? positions - padId - 1 : positions;
  return withHead(
    { ...description, architecture, maxLength, tensors: new Map() },
    "sequence",
  );
}

/**
 * The model with another of its heads.
 *
 * @throws {RangeError} If it is an encoder, which has no language head.
 */
export function withHead(
  model: Omit<Model, "head">,
  head: HeadName,
): Model {
  const found = model.heads[head];
  if (found === undefined) {
    throw new RangeError(
      `The model is a ${model.architecture.className}, an encoder, which writes no text: choose a decoder, such as SmolLM or Qwen`,
    );
  }
  const pass = new ShapePass();
  if (found.isFrozen) forward({ ...model, head }, pass, 1);
  else model.encoder(pass);
  const tensors = new Map(
    [...pass.tensors.values()].map(({ name, shape }) => [name, shape]),
  );
  return { ...model, head, tensors };
}

/** The tensors that a model's head declares, in the order of computation. */
export function headTensors(model: Model, outputs = 1): HeadTensor[] {
  const pass = new ShapePass();
  forward(model, pass, outputs);
  return [...pass.tensors.values()]
    .filter(({ name }) => !model.tensors.has(name));
}

/** Linear modules of a model's encoder in the order of their first use, those of one product together. */
export function encoderProducts(model: Model): (readonly string[])[] {
  const pass = new ShapePass();
  forward(model, pass, 1);
  return pass.products
    .filter(([name]) => model.tensors.has(`${name}.weight`));
}

/** A model and the layout of its trained parameters, which determine the cost of a pass. */
export interface ClassifierShape {
  readonly model: Model;
  readonly layout: ParameterLayout;
}

/**
 * Floating-point operations of a forward pass: two for each multiply-add of a
 * matrix product, none for elementwise operations. Padding counts, as do all
 * rows of the adapters whatever the rank in use; of the last layer only the
 * part that the head reads counts.
 *
 * @param shape `[batch, seq]`, padding included
 * @param ranks Number of ranks at which each sequence is computed
 */
export function forwardFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks = 1,
): number {
  return 2 * counted(classifier, shape, ranks).forward;
}

/**
 * Floating-point operations of a training pass, forward and backward, counted
 * as in {@linkcode forwardFlops}: frozen weights have no gradient, and no
 * gradient is computed below the lowest trained module. The optimizer's
 * elementwise operations are not counted.
 *
 * @param shape `[batch, seq]`, padding included
 * @param ranks Number of ranks at which each sequence is computed, or "example" if each has a rank of its own
 */
export function trainingFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks: number | "example" = 1,
): number {
  const { forward, backward } = counted(classifier, shape, ranks);
  return 2 * (forward + backward);
}

/** Number of places where training applies dropout. */
export function dropoutPlaces(classifier: ClassifierShape): number {
  return counted(classifier, [1, 2], 1).dropouts;
}

function counted(
  { model, layout }: ClassifierShape,
  [sequences, tokens]: readonly [number, number],
  ranks: number | "example",
): ShapePass {
  const pass = new ShapePass(layout, sequences, tokens, ranks);
  forward(model, pass, layout.labels);
  return pass;
}
