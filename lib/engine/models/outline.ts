import type {
  AttentionOptions,
  Model,
  Norm,
  ParameterLayout,
  Pass,
  RelativePositions,
} from "./model.ts";

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

function counted(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks: number | "example",
  allTokens = false,
): ShapePass {
  const pass = new ShapePass(classifier, shape, ranks, allTokens);
  classifier.model.forward(pass);
  return pass;
}

/** Outline of a forward pass, obtained by running it on shapes. */
interface Outline {
  /** Linear modules of the encoder in the order of their first use; those of one product together. */
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

/** An activation by its shape: `[ranks * sequences * tokens, width]`. */
interface Shape {
  /** Ranks at which it is computed: 1 where all share it. */
  readonly ranks: number;
  readonly sequences: number;
  readonly tokens: number;
  readonly width: number;
  /** True if it depends on trained parameters. */
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
  readonly #ranks: number | "example";
  readonly #allTokens: boolean;

  constructor(
    classifier: ClassifierShape,
    shape: readonly [number, number],
    ranks: number | "example",
    allTokens: boolean,
  ) {
    this.#classifier = classifier;
    this.#shape = shape;
    this.#ranks = ranks;
    this.#allTokens = allTokens;
  }

  get tokens(): number {
    return this.#shape[1];
  }

  embed(tables: readonly (readonly [string, string])[]): Shape {
    const { model, layout } = this.#classifier;
    const [sequences, tokens] = this.#shape;
    const names = tables.map(([table]) => `${table}.weight`);
    this.dropouts++;
    return {
      ranks: 1,
      sequences,
      tokens,
      width: model.tensors.get(names[0]!)![1]!,
      hasGradient: names.some((name) => layout.entries.has(name)),
    };
  }

  rows(table: string, rows: readonly number[]): Shape {
    const { model, layout } = this.#classifier;
    const name = `${table}.weight`;
    return {
      ranks: 1,
      sequences: 1,
      tokens: rows.length,
      width: model.tensors.get(name)![1]!,
      hasGradient: layout.entries.has(name),
    };
  }

  positionBias(table: string): Shape {
    return this.rows(table, Array<number>(this.tokens));
  }

  heads(
    modules: readonly string[],
    x: Shape,
    _heads: number,
    parts = modules.length,
  ): Shape[] {
    const projected = this.#product(modules, x);
    const width = projected.width / parts;
    return Array.from({ length: parts }, () => ({ ...projected, width }));
  }

  rotary(x: Shape): Shape {
    return x;
  }

  disentangle(
    query: Shape,
    key: Shape,
    positions: RelativePositions<Shape>,
  ): Shape {
    const isFirst = query.tokens === 1;
    const terms = [
      ...(positions.key === undefined ? [] : [[query, positions.key] as const]),
      ...(positions.query === undefined
        ? []
        : [[key, positions.query] as const]),
    ];
    const ranks = Math.max(
      ...[query, key, ...this.#ranks === "example" ? [] : terms.flat()]
        .map((it) => it.ranks),
    );
    for (const [contents, { hasGradient }] of terms) {
      // The products of a first query's keys with a position each are elementwise.
      if (isFirst && contents === key) continue;
      const distances = isFirst ? key.tokens : positions.rows.length;
      const size = ranks * contents.sequences * contents.tokens * distances *
        contents.width;
      this.forward += size;
      if (contents.hasGradient) this.backward += size;
      if (hasGradient) this.backward += size;
    }
    return {
      ...query,
      ranks,
      hasGradient: [query, key, ...terms.flat()].some((it) => it.hasGradient),
    };
  }

  attention(
    query: Shape,
    key: Shape,
    value: Shape,
    { bias, window }: AttentionOptions<Shape>,
  ): Shape {
    const parts = [query, key, value, ...(bias === undefined ? [] : [bias])];
    const ranks = Math.max(...parts.map((it) => it.ranks));
    const hasGradient = parts.some((it) => it.hasGradient);
    // Scores and weighted values: products of two activations each.
    const size = ranks * query.sequences * scoresOf(query, key, window) *
      query.width;
    this.forward += 2 * size;
    if (hasGradient) this.backward += 4 * size;
    this.dropouts++;
    return { ...query, ranks, hasGradient };
  }

  addNorm(module: string, x: Shape, residual: Shape): Shape {
    return this.add(module, x, residual);
  }

  add(module: string, x: Shape, residual: Shape): Shape {
    const y = this.#product([module], x);
    this.dropouts++;
    return {
      ...y,
      ranks: Math.max(y.ranks, residual.ranks),
      hasGradient: y.hasGradient || residual.hasGradient,
    };
  }

  norm(x: Shape, { name }: Norm): Shape {
    const isTrained = this.#classifier.layout.entries.has(`${name}.weight`);
    return { ...x, hasGradient: x.hasGradient || isTrained };
  }

  gelu(module: string, x: Shape): Shape {
    return this.#product([module], x);
  }

  geglu(module: string, x: Shape): Shape {
    const y = this.#product([module], x);
    return { ...y, width: y.width / 2 };
  }

  linear(module: string, x: Shape): Shape {
    return this.#product([module], x);
  }

  tanh(x: Shape): Shape {
    return x;
  }

  relu(x: Shape): Shape {
    return x;
  }

  dropout(x: Shape): Shape {
    this.dropouts++;
    return x;
  }

  first(x: Shape): Shape {
    return x.tokens === 1 ? x : { ...x, tokens: 1 };
  }

  mean(x: Shape): Shape {
    return this.first(x);
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
    const isKnown = this.products.some((it) => it.includes(modules[0]!));
    if (model.tensors.has(weights[0]!) && !isKnown) this.products.push(modules);
    const rows = x.sequences * x.tokens;
    const size = x.ranks * rows * inputs! * outputs;
    this.forward += size;
    if (x.hasGradient) this.backward += size;
    if (trained) this.backward += size;
    const adapters =
      modules.filter((name) =>
        layout.modules.some((module) => module.name === name)
      ).length;
    const y = { ...x, width: outputs, hasGradient: x.hasGradient || trained };
    if (adapters === 0) return y;
    // From the first adapter on, every rank has activations of its own.
    const ranks = this.#ranksOf(x);
    const width = adapters * layout.rank;
    const down = x.ranks * rows * inputs! * width;
    const up = ranks * rows * width * outputs;
    this.forward += down + up;
    this.backward += down + 2 * up + (x.hasGradient ? down : 0);
    return { ...y, ranks, hasGradient: true };
  }

  /** Ranks at which an adapted module computes: a sequence that all examples share once for each of them. */
  #ranksOf({ sequences }: Shape): number {
    if (this.#ranks !== "example") return this.#ranks;
    return this.#shape[0] / sequences;
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

/** Scores of a sequence: pairs of a query and a key that attention computes. */
function scoresOf(
  query: Shape,
  key: Shape,
  window: number | undefined,
): number {
  if (window === undefined || key.tokens <= window + 1) {
    return query.tokens * key.tokens;
  }
  return query.tokens === 1
    ? window + 1
    : Math.ceil(query.tokens / window) * window * 3 * window;
}
