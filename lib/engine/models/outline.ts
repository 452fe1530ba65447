import { reachOf, scoreCount } from "../ops/blocks.ts";
import {
  type Architecture,
  type AttentionOptions,
  type DeclaredTensor,
  type Description,
  forward,
  type HeadName,
  type HeadsOptions,
  type Index,
  type LinearOptions,
  type LogitsOptions,
  type Model,
  narrowed,
  type Narrowing,
  type NormOptions,
  type ParameterLayout,
  type Pass,
  type PositionBiasOptions,
  type Read,
  type RelativePositions,
  type SplitModule,
  type TableShape,
  WithHeads,
} from "./model.ts";

/**
 * Completes the description of a model with the tensors that its encoder
 * declares.
 */
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
  const description = model.heads[head];
  if (description === undefined) {
    throw new RangeError(
      `The model is a ${model.architecture.className}, an encoder, which writes no text: choose a decoder, such as SmolLM or Qwen`,
    );
  }
  const pass = new ShapePass();
  if (description.isFrozen) forward({ ...model, head }, pass, 1);
  else model.encoder(pass);
  const tensors = new Map(
    [...pass.tensors.values()].map(({ name, shape }) => [name, shape]),
  );
  return { ...model, head, tensors };
}

/** The tensors that a model's head declares, in the order of computation. */
export function headTensors(model: Model, outputs = 1): DeclaredTensor[] {
  const pass = new ShapePass();
  forward(model, pass, outputs);
  return [...pass.tensors.values()]
    .filter(({ name }) => !model.tensors.has(name));
}

/**
 * Linear modules of a model's encoder in the order of their first use, those of
 * one product together.
 */
export function encoderProducts(model: Model): (readonly string[])[] {
  const pass = new ShapePass();
  forward(model, pass, 1);
  return pass.products
    .filter(([name]) => model.tensors.has(`${name}.weight`));
}

/**
 * A model and the layout of its trained parameters, which determine the cost of
 * a pass.
 */
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
 * @param cached Tokens before a single one, whose keys and values are known
 */
export function forwardFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks = 1,
  cached = 0,
): number {
  return 2 * counted(classifier, shape, ranks, cached).forward;
}

/**
 * Floating-point operations of a training pass, forward and backward, counted
 * as in {@linkcode forwardFlops}: frozen weights have no gradient, and no
 * gradient is computed below the lowest trained module. The optimizer's
 * elementwise operations are not counted.
 *
 * @param shape `[batch, seq]`, padding included
 * @param ranks Number of ranks at which each sequence is computed, or "example"
 * if each has a rank of its own
 */
export function trainingFlops(
  classifier: ClassifierShape,
  shape: readonly [number, number],
  ranks: number | "example" = 1,
): number {
  const { forward, backward } = counted(classifier, shape, ranks);
  return 2 * (forward + backward);
}

/** Number of dropouts of a forward pass in training. */
export function dropoutCount(classifier: ClassifierShape): number {
  return counted(classifier, [1, 2], 1).dropouts;
}

function counted(
  { model, layout }: ClassifierShape,
  [sequences, tokens]: readonly [number, number],
  ranks: number | "example",
  cached = 0,
): ShapePass {
  const pass = new ShapePass(layout, sequences, tokens, ranks, cached);
  forward(model, pass, layout.outputs);
  return pass;
}

/** An activation by its shape: `[ranks * sequences * tokens, width]`. */
interface Shape extends Narrowing<Shape> {
  /** Ranks at which it is computed: 1 where all share it. */
  readonly ranks: number;
  readonly sequences: number;
  readonly tokens: number;
  readonly width: number;
  /** True if it depends on trained parameters. */
  readonly hasGradient: boolean;
}

/** Declares the tensors of a forward pass, and counts its products. */
class ShapePass extends WithHeads<Shape> implements Pass<Shape> {
  /** Multiply-adds of the forward pass. */
  forward = 0;
  /** Multiply-adds of the backward pass. */
  backward = 0;
  dropouts = 0;
  readonly products: (readonly string[])[] = [];
  readonly tensors = new Map<string, DeclaredTensor>();
  readonly #adapted: ReadonlySet<string>;
  readonly rotary = unchanged;
  readonly activate = unchanged;
  readonly first = oneToken;
  readonly last = oneToken;
  readonly mean = oneToken;

  /**
   * @param layout What is trained; nothing by default
   * @param tokens Two by default, so that the first is not all of a sequence
   */
  constructor(
    private readonly layout?: ParameterLayout,
    private readonly sequences = 1,
    readonly tokens = 2,
    private readonly ranks: number | "example" = 1,
    private readonly cached = 0,
  ) {
    super();
    this.#adapted = new Set(layout?.modules.map(({ name }) => name));
  }

  embed(name: string, _index: Index, table: TableShape): Shape {
    const { tokens, sequences } = this;
    return { ...this.#table(name, table, tokens), sequences };
  }

  rows(name: string, rows: readonly number[], table: TableShape): Shape {
    return this.#table(name, table, rows.length);
  }

  positionBias(name: string, { buckets, heads }: PositionBiasOptions): Shape {
    return this.#table(name, [buckets, heads], this.tokens);
  }

  linear(
    name: string | readonly string[],
    x: Shape,
    { width = x.width, bias }: LinearOptions = {},
  ): Shape {
    const names = [name].flat();
    return this.#product(names, x, names.map(() => width), bias);
  }

  logits(
    name: string,
    x: Shape,
    outputs: number,
    { bias = true, ...start }: LogitsOptions = {},
  ): Shape {
    this.#declare(`${name}.weight`, [outputs, x.width], {
      start: "normal",
      ...start,
    });
    if (bias) this.#declare(`${name}.bias`, [outputs], { start: "zeros" });
    return this.#product([name], x, [outputs], bias);
  }

  vocabulary(name: string, x: Shape, table: TableShape): Shape {
    const { hasGradient: isTrained } = this.#table(name, table, x.tokens);
    const [size] = table;
    const rows = x.ranks * x.sequences * x.tokens;
    this.#multiply(rows * x.width * size, x.hasGradient, isTrained);
    return { ...x, width: size, hasGradient: x.hasGradient || isTrained };
  }

  split(
    x: Shape,
    modules: readonly SplitModule[],
    { bias, depth }: HeadsOptions,
  ): Shape[] {
    const widthsOf = modules.map(({ heads }) =>
      heads.map((count) => depth === undefined ? x.width : depth * count)
    );
    const y = this.#product(
      modules.map(({ name }) => name),
      x,
      widthsOf.map((widths) => widths.reduce((sum, width) => sum + width)),
      bias,
    );
    return widthsOf.flat().map((width) => ({ ...y, width }));
  }

  disentangle(
    query: Shape,
    key: Shape,
    positions: RelativePositions<Shape>,
  ): Shape {
    const isFirst = query.tokens === 1;
    const terms = ([[query, positions.key], [key, positions.query]] as const)
      .filter((it): it is [Shape, Shape] => it[1] !== undefined);
    const ranks = Math.max(
      ...[query, key, ...this.ranks === "example" ? [] : terms.flat()]
        .map((it) => it.ranks),
    );
    for (const [contents, { hasGradient }] of terms) {
      // The products of a first query's keys with a position each are
      // elementwise.
      if (isFirst && contents === key) continue;
      const distances = isFirst ? key.tokens : positions.rows.length;
      const rows = ranks * contents.sequences * contents.tokens;
      const size = rows * distances * contents.width;
      this.#multiply(size, contents.hasGradient, hasGradient);
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
    { bias, window, causal }: AttentionOptions<Shape>,
  ): Shape {
    const parts = [query, key, value, ...(bias === undefined ? [] : [bias])];
    const ranks = Math.max(...parts.map((it) => it.ranks));
    const hasGradient = parts.some((it) => it.hasGradient);
    const { tokens } = query;
    // Only the last token attends to all others where it is the only query.
    const scores = causal && tokens === 1
      ? key.tokens + this.cached
      : scoreCount(reachOf(causal, window), tokens, key.tokens);
    // Scores and weighted values; those that the gradient computes again are
    // not counted.
    const size = 2 * ranks * query.sequences * scores * query.width;
    this.#multiply(size, hasGradient, hasGradient);
    this.dropouts++;
    return { ...query, ranks, hasGradient };
  }

  norm(
    name: string,
    terms: readonly Shape[],
    { form, bias = form !== "rms", dropout, width }: NormOptions,
  ): Shape {
    const shape = [width ?? terms[0]!.width];
    this.#declare(`${name}.weight`, shape, pretrained("ones"));
    if (bias) this.#declare(`${name}.bias`, shape, pretrained("zeros"));
    if (dropout !== undefined) this.dropouts++;
    const sum = terms.reduce((sum, term) => this.add(sum, term));
    return { ...sum, hasGradient: sum.hasGradient || this.#isTrained(name) };
  }

  add(...terms: [x: Shape, residual: Shape]): Shape {
    const [x, residual] = narrowed(terms) as typeof terms;
    return {
      ...x,
      ranks: Math.max(x.ranks, residual.ranks),
      hasGradient: x.hasGradient || residual.hasGradient,
    };
  }

  glu(x: Shape): Shape {
    return { ...x, width: x.width / 2 };
  }

  dropout(x: Shape): Shape {
    this.dropouts++;
    return x;
  }

  narrow(x: Shape, read: Read<Shape>): Shape {
    return { ...x, read };
  }

  #table(name: string, shape: TableShape, tokens: number): Shape {
    this.#declare(`${name}.weight`, shape, { start: "pretrained" });
    const hasGradient = this.#isTrained(name);
    return { ranks: 1, sequences: 1, tokens, width: shape[1], hasGradient };
  }

  /** @param widths Outputs of each module */
  #product(
    names: readonly string[],
    x: Shape,
    widths: readonly number[],
    bias = true,
  ): Shape {
    names.forEach((name, i) => {
      const width = widths[i]!;
      this.#declare(`${name}.weight`, [width, x.width], pretrained("normal"));
      if (bias) this.#declare(`${name}.bias`, [width], pretrained("zeros"));
    });
    if (!this.products.some((it) => it.includes(names[0]!))) {
      this.products.push(names);
    }
    const trained = names.some((name) => this.#isTrained(name));
    const outputs = widths.reduce((sum, it) => sum + it);
    const rows = x.sequences * x.tokens;
    const inputs = x.ranks * rows * x.width;
    this.#multiply(inputs * outputs, x.hasGradient, trained);
    const adapted = widths.filter((_, i) => this.#adapted.has(names[i]!));
    const y = { ...x, width: outputs, hasGradient: x.hasGradient || trained };
    if (adapted.length === 0) return y;
    // From the first adapter on, every rank has activations of its own; of a
    // sequence that all examples share, each example.
    const ranks = this.ranks === "example"
      ? this.sequences / x.sequences
      : this.ranks;
    const { kind, rank, loraDropout } = this.layout!;
    if (loraDropout > 0) this.dropouts += adapted.length;
    const allRanks = adapted.length * rank;
    this.#multiply(inputs * allRanks, x.hasGradient, true);
    this.#multiply(ranks * rows * allRanks * outputs, true, true);
    const scales = this.ranks === "example" ? this.sequences : this.ranks;
    for (const outputs of adapted) {
      const sizes = { inputs: x.width, outputs };
      this.forward += kind.gainProducts?.(sizes, rank, scales) ?? 0;
    }
    return { ...y, ranks, hasGradient: true };
  }

  /** Counts a product of two factors, which have a gradient or not. */
  #multiply(size: number, ...hasGradient: [boolean, boolean]): void {
    this.forward += size;
    this.backward += size * hasGradient.filter((it) => it).length;
  }

  #isTrained(name: string): boolean {
    return this.layout?.entries.has(`${name}.weight`) ?? false;
  }

  /** A tensor that is used again is the same one. */
  #declare(
    name: string,
    shape: readonly number[],
    start: Omit<DeclaredTensor, "name" | "shape">,
  ): void {
    const before = this.tensors.get(name)?.shape;
    if (before === undefined) this.tensors.set(name, { name, shape, ...start });
    else if (String(before) !== String(shape)) {
      throw new TypeError(
        `Tensor "${name}" is used with shapes [${before}] and [${shape}]`,
      );
    }
  }
}

function pretrained(fallback: NonNullable<DeclaredTensor["fallback"]>) {
  return { start: "pretrained", fallback } as const;
}

function unchanged(x: Shape): Shape {
  return x;
}

function oneToken(x: Shape): Shape {
  return x.tokens === 1 ? x : { ...x, tokens: 1, read: undefined };
}
