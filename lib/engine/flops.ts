import type { EncoderConfig } from "./config.ts";
import type { ParameterLayout } from "./parameters.ts";

/** A classifier's shape, on which its cost depends. */
export interface ClassifierShape {
  readonly config: EncoderConfig;
  readonly layout: ParameterLayout;
}

/** Multiply-adds of a matrix product, and of those that give its gradients. */
interface ProductCost {
  readonly forward: number;
  readonly backward: number;
}

/**
 * Floating-point operations of a forward pass: two for each multiply-add of a
 * matrix product, and nothing for what is done value by value. Counted is what
 * is computed: padding, all rows of the adapters whatever the rank in use, and
 * of the last layer only what the classifier reads.
 *
 * @param shape `[batch, seq]`, padding included
 * @param groups Ranks at which each sequence is computed
 */
export function forwardFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  groups = 1,
): number {
  return 2 * sum(products(classifier, shape, groups), ({ forward }) => forward);
}

/**
 * Floating-point operations of a pass of training, forward and backward,
 * counted like those of {@linkcode forwardFlops}: frozen weights have no
 * gradient, and nothing goes back below what is trained lowest. What the
 * optimizer does, value by value, is not counted.
 *
 * @param shape `[batch, seq]`, padding included
 * @param groups Ranks at which each sequence is computed
 */
export function trainingFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  groups = 1,
): number {
  return 2 * sum(
    products(classifier, shape, groups),
    ({ forward, backward }) => forward + backward,
  );
}

function* products(
  { config, layout }: ClassifierShape,
  shape: readonly [number, number],
  groups: number,
): Generator<ProductCost> {
  const { hidden } = config;
  const sequences = groups * shape[0];
  const dense = sequences * hidden * hidden;
  if (layout.encoder.length > 0) {
    yield* trainedEncoder(config, shape);
    yield trainedProduct(dense);
  } else if (layout.rank > 0) {
    yield* frozenEncoder({ config, layout }, shape, groups);
    yield trainedProduct(dense);
  } else {
    for (const product of frozenEncoder({ config, layout }, shape, groups)) {
      yield { ...product, backward: 0 };
    }
    // Below the head nothing is trained: only its weights have a gradient.
    yield { forward: dense, backward: dense };
  }
  yield trainedProduct(sequences * hidden * layout.labels);
}

function* frozenEncoder(
  { config, layout }: ClassifierShape,
  [batch, seq]: readonly [number, number],
  groups: number,
): Generator<ProductCost> {
  const { hidden, intermediate, layers } = config;
  const sequences = groups * batch;
  for (let layer = 0; layer < layers; layer++) {
    const first = layer === 0;
    // The groups share what lies below the lowest adapter.
    const read = first ? batch : sequences;
    const adapted = (positions: number, parts: number, adapters: number) =>
      adaptedProduct({
        inputRows: read * positions,
        outputRows: sequences * positions,
        hidden,
        outputs: parts * hidden,
        width: adapters * layout.rank,
        inputGradient: !first,
      });
    let queries = seq;
    if (layer < layers - 1) yield adapted(seq, 3, 2);
    else {
      queries = 1;
      yield adapted(1, 1, 1);
      yield adapted(seq, 2, 1);
    }
    yield attentionProducts(sequences * queries * seq * hidden);
    const rows = sequences * queries;
    yield frozenProduct(rows * hidden * hidden);
    yield frozenProduct(rows * hidden * intermediate);
    yield frozenProduct(rows * intermediate * hidden);
  }
}

/** All weights are trained; looking up embeddings is no product. */
function* trainedEncoder(
  { hidden, intermediate, layers }: EncoderConfig,
  [batch, seq]: readonly [number, number],
): Generator<ProductCost> {
  for (let layer = 0; layer < layers; layer++) {
    const queries = layer < layers - 1 ? seq : 1;
    const rows = batch * queries;
    yield trainedProduct(rows * hidden * hidden);
    yield trainedProduct(batch * seq * hidden * 2 * hidden);
    yield attentionProducts(rows * seq * hidden);
    yield trainedProduct(rows * hidden * hidden);
    yield trainedProduct(rows * hidden * intermediate);
    yield trainedProduct(rows * intermediate * hidden);
  }
}

/** A product with frozen weights: the gradient of its input is one more. */
function frozenProduct(size: number): ProductCost {
  return { forward: size, backward: size };
}

/** A product of two that are trained: a gradient for each. */
function trainedProduct(size: number): ProductCost {
  return { forward: size, backward: 2 * size };
}

/** Scores and their weighted values, each a product of two. */
function attentionProducts(size: number): ProductCost {
  return { forward: 2 * size, backward: 4 * size };
}

/** A frozen projection and the two products of its adapters, `width` rows in all. */
function adaptedProduct(
  { inputRows, outputRows, hidden, outputs, width, inputGradient }: {
    readonly inputRows: number;
    readonly outputRows: number;
    readonly hidden: number;
    readonly outputs: number;
    readonly width: number;
    readonly inputGradient: boolean;
  },
): ProductCost {
  const frozen = inputRows * hidden * outputs;
  const down = inputRows * hidden * width;
  const up = outputRows * width * outputs;
  return {
    forward: frozen + down + up,
    backward: down + 2 * up + (inputGradient ? frozen + down : 0),
  };
}

function sum<T>(items: Iterable<T>, value: (item: T) => number): number {
  let total = 0;
  for (const item of items) total += value(item);
  return total;
}
