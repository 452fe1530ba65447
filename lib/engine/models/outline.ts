import type { Model, ParameterLayout, Pass } from "./model.ts";

/** A model and what is trained of it, on which the cost of a pass depends. */
export interface ClassifierShape {
  readonly model: Model;
  readonly layout: ParameterLayout;
}

/**
 * Floating-point operations of a forward pass: two for each multiply-add of a
 * matrix product, none for elementwise operations. Counted is what is
 * computed: padding, all rows of the adapters whatever the rank in use, and of
 * the last layer only what the head reads.
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
 * @param ranks Number of ranks at which each sequence is computed
 */
export function trainingFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks = 1,
): number {
  const { forward, backward } = counted(classifier, shape, ranks);
  return 2 * (forward + backward);
}

function counted(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks: number,
  allTokens = false,
): ShapePass {
  const pass = new ShapePass(classifier, shape, ranks, allTokens);
  classifier.model.forward(pass);
  return pass;
}

/** What a forward pass asks for, found by running it on shapes. */
interface Outline {
  /** Linear modules of the encoder in the order of computation; those of one product together. */
  readonly products: readonly (readonly string[])[];
  /** Number of places where dropout is applied. */
  readonly dropouts: number;
}

/**
 * Outlines a model's forward pass.
 *
 * @param allTokens True for a pass that computes all hidden states of the last layer
 */
export function outline(model: Model, allTokens = false): Outline {
  const head = model.architecture.head(model.hidden, 1);
  const layout: ParameterLayout = {
    rank: 0,
    labels: 1,
    modules: [],
    entries: new Map(head.map(({ name, shape }) => [
      name,
      { name, shape, offset: 0, start: "zeros" },
    ])),
    size: 0,
  };
  // Two tokens, so that the first token is not all of a sequence.
  const { products, dropouts } = counted(
    { model, layout },
    [1, 2],
    1,
    allTokens,
  );
  return { products, dropouts };
}

/** An activation by its shape: `[sequences * tokens, width]`. */
interface Shape {
  readonly sequences: number;
  readonly tokens: number;
  readonly width: number;
  /** True if it depends on anything trained. */
  readonly hasGradient: boolean;
}

/** Counts the products of a forward pass. */
class ShapePass implements Pass<Shape> {
  /** Multiply-adds of the forward pass. */
  forward = 0;
  /** Multiply-adds of the backward pass. */
  backward = 0;
  dropouts = 0;
  readonly products: (readonly string[])[] = [];
  readonly #classifier: ClassifierShape;
  readonly #shape: readonly [number, number];
  readonly #ranks: number;
  readonly #allTokens: boolean;

  constructor(
    classifier: ClassifierShape,
    shape: readonly [number, number],
    ranks: number,
    allTokens: boolean,
  ) {
    this.#classifier = classifier;
    this.#shape = shape;
    this.#ranks = ranks;
    this.#allTokens = allTokens;
  }

  embed(tables: readonly (readonly [string, string])[]): Shape {
    const { model, layout } = this.#classifier;
    const [sequences, tokens] = this.#shape;
    const names = tables.map(([table]) => `${table}.weight`);
    this.dropouts++;
    return {
      sequences,
      tokens,
      width: model.tensors.get(names[0]!)![1]!,
      hasGradient: names.some((name) => layout.entries.has(name)),
    };
  }

  heads(modules: readonly string[], x: Shape): Shape[] {
    const projected = this.#product(modules, x);
    const width = projected.width / modules.length;
    return modules.map(() => ({ ...projected, width }));
  }

  attention(query: Shape, key: Shape, value: Shape): Shape {
    const parts = [query, key, value];
    const sequences = Math.max(...parts.map((it) => it.sequences));
    const size = sequences * query.tokens * key.tokens * query.width;
    const hasGradient = parts.some((it) => it.hasGradient);
    // Scores and weighted values: products of two activations each.
    this.forward += 2 * size;
    if (hasGradient) this.backward += 4 * size;
    this.dropouts++;
    return { ...query, sequences, hasGradient };
  }

  addNorm(module: string, x: Shape, residual: Shape): Shape {
    const y = this.#product([module], x);
    this.dropouts++;
    return {
      ...y,
      sequences: Math.max(y.sequences, residual.sequences),
      hasGradient: y.hasGradient || residual.hasGradient,
    };
  }

  gelu(module: string, x: Shape): Shape {
    return this.#product([module], x);
  }

  linear(module: string, x: Shape): Shape {
    return this.#product([module], x);
  }

  tanh(x: Shape): Shape {
    return x;
  }

  dropout(x: Shape): Shape {
    this.dropouts++;
    return x;
  }

  first(x: Shape): Shape {
    return x.tokens === 1 ? x : { ...x, tokens: 1 };
  }

  read(x: Shape): Shape {
    return this.#allTokens ? x : this.first(x);
  }

  observe(): void {}

  #product(modules: readonly string[], x: Shape): Shape {
    const { model, layout } = this.#classifier;
    const weights = modules.map((name) => `${name}.weight`);
    const trained = weights.some((name) => layout.entries.has(name));
    const [inputs] = weights.map((name) => this.#shapeOf(name)[1]!);
    const outputs = weights.reduce(
      (sum, name) => sum + this.#shapeOf(name)[0]!,
      0,
    );
    if (model.tensors.has(weights[0]!)) this.products.push(modules);
    const size = x.sequences * x.tokens * inputs! * outputs;
    this.forward += size;
    if (x.hasGradient) this.backward += size;
    if (trained) this.backward += size;
    const adapters =
      modules.filter((name) =>
        layout.modules.some((module) => module.name === name)
      ).length;
    const y = { ...x, width: outputs, hasGradient: x.hasGradient || trained };
    if (adapters === 0) return y;
    // Sequences that all ranks share until here are computed at each rank from here on.
    const sequences = Math.max(x.sequences, this.#ranks * this.#shape[0]);
    const width = adapters * layout.rank;
    const down = x.sequences * x.tokens * inputs! * width;
    const up = sequences * x.tokens * width * outputs;
    this.forward += down + up;
    this.backward += down + 2 * up + (x.hasGradient ? down : 0);
    return { ...y, sequences, hasGradient: true };
  }

  #shapeOf(name: string): readonly number[] {
    const { model, layout } = this.#classifier;
    const shape = model.tensors.get(name) ?? layout.entries.get(name)?.shape;
    if (shape === undefined) {
      throw new TypeError(`No tensor is named "${name}"`);
    }
    return shape;
  }
}
