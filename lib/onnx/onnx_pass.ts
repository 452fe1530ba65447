import {
  type ActivationName,
  type AttentionOptions,
  type HeadsOptions,
  type Index,
  type LinearOptions,
  narrowed,
  type Narrowing,
  type NormOptions,
  type Pass,
  type PositionBiasOptions,
  type Read,
  type RelativePositions,
  type SplitModule,
  WithHeads,
} from "../engine/models/model.ts";
import { floats, type Graph } from "./graph.ts";
import { GraphWeights, type WeightOptions } from "./graph_weights.ts";

/**
 * An activation: a value of the graph, `[sequences, tokens, width]`, or heads,
 * `[sequences, heads, tokens, depth]`.
 */
interface Value extends Narrowing<Value> {
  readonly name: string;
  /**
   * Which tokens of a sequence it has: all, or the one at a position, `[1 or
   * sequences]`.
   */
  readonly tokens: "all" | { readonly at: string };
  /** Sizes, where it is split into heads. */
  readonly heads?: { readonly count: number; readonly depth: number };
}

/** Added to the scores of masked keys; float16 has no larger number. */
const MASKED = { float32: -1e9, float16: -65504 };

/**
 * Writes a forward pass as a graph of ONNX. Numbers of sequences and of tokens
 * are not known: lengths, positions and masks are computed in the graph, from
 * tables for the model's longest sequence.
 */
export class OnnxPass extends WithHeads<Value> implements Pass<Value> {
  readonly #graph: Graph;
  readonly #weights: GraphWeights;
  readonly #model: WeightOptions["model"];
  readonly #ids: string;
  readonly #mask: string;

  constructor(graph: Graph, options: WeightOptions) {
    super();
    this.#graph = graph;
    this.#weights = new GraphWeights(graph, options);
    this.#model = options.model;
    this.#ids = this.#batchInput("input_ids");
    this.#mask = this.#batchInput("attention_mask");
  }

  /** Those of the longest sequence. */
  get tokens(): number {
    return this.#model.maxLength;
  }

  #batchInput(name: string): string {
    const shape = ["batch", "sequence"];
    return this.#graph.input({ name, type: "int64", shape });
  }

  /** Tokens of each sequence, a number. */
  get #count(): string {
    const shape = this.#op("Shape", this.#ids);
    return this.#op("Gather", shape, this.#int(1));
  }

  /** Positions of the tokens, from 0: `[tokens]` */
  get #range(): string {
    const zero = this.#int(0);
    const one = this.#int(1);
    return this.#op("Range", zero, this.#count, one);
  }

  #op(...operation: Parameters<Graph["op"]>): string {
    return this.#graph.op(...operation);
  }

  #number(value: number): string {
    return this.#graph.float(value, this.#weights.float);
  }

  #float(value: string): string {
    return this.#graph.cast(value, this.#weights.float);
  }

  #int(value: number): string {
    return this.#graph.ints([value], []);
  }

  #transpose(value: string, perm: readonly number[]): string {
    return this.#op("Transpose", value, { perm });
  }

  #unsqueezed(value: string, ...axes: readonly number[]): string {
    return this.#op("Unsqueeze", value, this.#graph.ints(axes));
  }

  embed(name: string, index: Index): Value {
    const ids = {
      ids: () => this.#ids,
      types: () => this.#types,
      positions: () => this.#positions,
    };
    return this.#rows(name, ids[index]());
  }

  rows(name: string, rows: readonly number[]): Value {
    return this.#rows(name, this.#graph.ints(rows, [1, rows.length]));
  }

  #rows(name: string, ids: string): Value {
    return { name: this.#weights.rows(`${name}.weight`, ids), tokens: "all" };
  }

  /** An input, unless the tokenizer of the architecture has one type alone. */
  get #types(): string {
    const { pairType } = this.#model.architecture.tokenizer;
    return pairType === 0
      ? this.#graph.ints([0], [1, 1])
      : this.#batchInput("token_type_ids");
  }

  /** As `positionsOf()` of the engine. */
  get #positions(): string {
    const { countsFromPadding, padId } = this.#model;
    if (!countsFromPadding) return this.#unsqueezed(this.#range, 0);
    const isToken = this.#isOther(padId);
    const counted = this.#op("CumSum", isToken, this.#int(1));
    const product = this.#op("Mul", counted, isToken);
    return this.#op("Add", product, this.#int(padId));
  }

  /** 1 where a token is not this one, as `attention_mask`. */
  #isOther(token: number): string {
    const isSame = this.#op("Equal", this.#ids, this.#int(token));
    return this.#graph.cast(this.#op("Not", isSame), "int64");
  }

  positionBias(
    name: string,
    { bucket, factor }: PositionBiasOptions,
  ): Value {
    const all = { tokens: "all" } as const;
    const buckets = this.#byDistance((distance) => bucket(-distance), all);
    const biases = this.#weights.rows(`${name}.weight`, buckets);
    const heads = this.#transpose(biases, [0, 3, 1, 2]);
    return { ...all, name: this.#op("Mul", heads, this.#number(factor)) };
  }

  /** Positions of queries: `[1 or sequences, queries, 1]` */
  #queryPositions({ tokens }: Pick<Value, "tokens">): string {
    return tokens === "all"
      ? this.#unsqueezed(this.#range, 0, 2)
      : this.#unsqueezed(tokens.at, 1, 2);
  }

  /**
   * Distances of queries and keys, query minus key: `[1 or sequences, queries,
   * tokens]`
   */
  #distances(query: Pick<Value, "tokens">): string {
    return this.#op("Sub", this.#queryPositions(query), this.#range);
  }

  /**
   * An integer for each distance, query minus key, as {@linkcode #distances}.
   */
  #byDistance(
    of: (distance: number) => number,
    query: Pick<Value, "tokens">,
  ): string {
    const last = this.tokens - 1;
    const table = Array.from({ length: 2 * last + 1 }, (_, i) => of(i - last));
    const index = this.#op("Add", this.#distances(query), this.#int(last));
    return this.#op("Gather", this.#graph.ints(table), index);
  }

  linear(
    name: string | readonly string[],
    x: Value,
    { bias = true }: LinearOptions = {},
  ): Value {
    const outputs = [name].flat()
      .map((name) => this.#weights.linear(name, x.name, bias));
    return {
      ...x,
      name: outputs.length === 1
        ? outputs[0]!
        : this.#op("Concat", ...outputs, { axis: -1 }),
    };
  }

  vocabulary(): Value {
    throw new TypeError("ONNX of a language head is not supported");
  }

  logits(name: string, x: Value, _: number, options?: LinearOptions): Value {
    return this.linear(name, x, options);
  }

  split(
    x: Value,
    modules: readonly SplitModule[],
    { bias = true }: HeadsOptions,
  ): Value[] {
    return modules.flatMap(({ name, heads: [count = 0, ...others] }) => {
      const y = this.#weights.linear(name, x.name, bias);
      const parts = 1 + others.length;
      const depth = this.#weights.outputs(name) / parts / count;
      return this.#split(y, parts).map((part) => ({
        ...x,
        name: this.#transpose(
          this.#op("Reshape", part, this.#graph.ints([0, 0, count, depth])),
          [0, 2, 1, 3],
        ),
        heads: { count, depth },
      }));
    });
  }

  /** Equal parts of the last axis. */
  #split(value: string, count: number): readonly string[] {
    if (count === 1) return [value];
    const attributes = { axis: -1, num_outputs: count };
    return this.#graph.ops("Split", [value], attributes, count);
  }

  rotary(x: Value, frequencies: Float32Array): Value {
    const { float } = this.#weights;
    const half = frequencies.length;
    const [cos, sin] = (["cos", "sin"] as const).map((of) => {
      const table = this.#graph.constant(`${of} ${frequencies.join(" ")}`, {
        type: float,
        shape: [this.tokens, half],
        read: () =>
          floats(
            Float32Array.from(
              { length: this.tokens * half },
              (_, i) => Math.floor(i / half) * frequencies[i % half]!,
            ).map(Math[of]),
            float,
          ),
      });
      return x.tokens === "all"
        ? this.#slice(table, 0, this.#unsqueezed(this.#count, 0))
        : this.#unsqueezed(this.#op("Gather", table, x.tokens.at), 1, 2);
    });
    const [left, right] = this.#split(x.name, 2);
    const turned = (type: string, [a, b]: string[]) =>
      this.#op(type, this.#op("Mul", a!, cos!), this.#op("Mul", b!, sin!));
    const first = turned("Sub", [left!, right!]);
    const second = turned("Add", [right!, left!]);
    return { ...x, name: this.#op("Concat", first, second, { axis: -1 }) };
  }

  /** The beginning of an axis. */
  #slice(value: string, axis: number, end: string): string {
    const start = this.#graph.ints([0]);
    const axes = this.#graph.ints([axis]);
    return this.#op("Slice", value, start, end, axes);
  }

  disentangle(
    query: Value,
    key: Value,
    positions: RelativePositions<Value>,
  ): Value {
    const last = this.tokens - 1;
    const row = this.#byDistance((it) => positions.rows[it + last]!, query);
    const swapped = (value: string) => this.#transpose(value, [0, 1, 3, 2]);
    // Products with every position, of which each pair of tokens takes that of
    // its distance.
    const taken = (x: Value, positions: Value, rows: string) => {
      const products = this.#op("MatMul", x.name, swapped(positions.name));
      const start = this.#op("Shape", products, { start: 0, end: 3 });
      const size = this.#op("Shape", rows, { start: 3 });
      const shape = this.#op("Concat", start, size, { axis: 0 });
      const index = this.#op("Expand", rows, shape);
      return this.#op("GatherElements", products, index, { axis: 3 });
    };
    const rows = this.#unsqueezed(row, 1);
    const terms = [
      positions.key && taken(query, positions.key, rows),
      positions.query && swapped(taken(key, positions.query, swapped(rows))),
    ].filter((it) => it !== undefined);
    return {
      tokens: query.tokens,
      name: terms.reduce((sum, it) => this.#op("Add", sum, it)),
    };
  }

  attention(
    query: Value,
    key: Value,
    value: Value,
    { scale, bias, window, causal = false }: AttentionOptions<Value>,
  ): Value {
    const { count, depth } = query.heads!;
    const keys = this.#transpose(this.#ofEach(key, count), [0, 1, 3, 2]);
    let scores = this.#op("MatMul", query.name, keys);
    if (bias !== undefined) {
      const isWhole = bias.tokens === "all" && query.tokens !== "all";
      const { name } = isWhole
        ? this.first({ ...bias, heads: query.heads! })
        : bias;
      scores = this.#op("Add", scores, name);
    }
    scores = this.#op(
      "Mul",
      scores,
      this.#number(scale ?? 1 / Math.sqrt(depth)),
    );
    const masked = this.#op(
      "Where",
      this.#masked(query, window, causal),
      this.#number(MASKED[this.#weights.float]),
      this.#number(0),
    );
    const shares = this.#op("Softmax", this.#op("Add", scores, masked), {
      axis: -1,
    });
    const context = this.#op("MatMul", shares, this.#ofEach(value, count));
    const joined = this.#op(
      "Reshape",
      this.#transpose(context, [0, 2, 1, 3]),
      this.#graph.ints([0, 0, count * depth]),
    );
    return { name: joined, tokens: query.tokens };
  }

  /**
   * Keys or values for each head of the query, of which neighbours may share
   * one.
   */
  #ofEach({ name, heads }: Value, count: number): string {
    const { count: shared, depth } = heads!;
    if (shared === count) return name;
    const repeated = this.#op(
      "Expand",
      this.#unsqueezed(name, 2),
      this.#graph.ints([1, 1, count / shared, 1, 1]),
    );
    const shape = this.#graph.ints([0, count, -1, depth]);
    return this.#op("Reshape", repeated, shape);
  }

  /**
   * Which keys a query does not attend to: `[sequences, 1, queries or 1,
   * tokens]`
   */
  #masked(
    query: Value,
    window: number | undefined,
    causal: boolean,
  ): string {
    const or = (a: string, b: string) => this.#op("Or", a, b);
    let masked = this.#unsqueezed(
      this.#op("Equal", this.#mask, this.#int(0)),
      1,
      2,
    );
    const distances = () => this.#unsqueezed(this.#distances(query), 1);
    if (causal) {
      masked = or(masked, this.#op("Less", distances(), this.#int(0)));
    }
    if (window !== undefined) {
      const far = causal ? distances() : this.#op("Abs", distances());
      masked = or(masked, this.#op("Greater", far, this.#int(window)));
    }
    return masked;
  }

  norm(
    name: string,
    terms: readonly Value[],
    { form, bias = form !== "rms", epsilon }: NormOptions,
  ): Value {
    const sum = terms.reduce((sum, term) => this.add(sum, term));
    const weight = this.#weights.vector(`${name}.weight`);
    if (form === "rms") {
      return { ...sum, name: this.#rmsNorm(sum.name, weight, epsilon) };
    }
    const inputs = [
      sum.name,
      weight,
      ...(bias ? [this.#weights.vector(`${name}.bias`)] : []),
    ];
    const attributes = { axis: -1, epsilon: { float: epsilon } };
    return {
      ...sum,
      name: this.#op("LayerNormalization", ...inputs, attributes),
    };
  }

  /** In float32, since squares may be too large for float16. */
  #rmsNorm(x: string, weight: string, epsilon: number): string {
    const isHalf = this.#weights.float === "float16";
    const wide = isHalf ? this.#graph.cast(x, "float32") : x;
    const number = (value: number) => this.#graph.float(value, "float32");
    const square = this.#op("Pow", wide, number(2));
    const mean = this.#op("ReduceMean", square, this.#graph.ints([-1]));
    const root = this.#op(
      "Sqrt",
      this.#op("Add", mean, number(epsilon)),
    );
    const normed = this.#op("Div", wide, root);
    return this.#op("Mul", isHalf ? this.#float(normed) : normed, weight);
  }

  add(...terms: [x: Value, residual: Value]): Value {
    const [x, residual] = narrowed(terms) as typeof terms;
    return { ...x, name: this.#op("Add", x.name, residual.name) };
  }

  activate(x: Value, by: ActivationName): Value {
    const { name } = x;
    if (by === "relu") return { ...x, name: this.#op("Relu", name) };
    if (by === "tanh") return { ...x, name: this.#op("Tanh", name) };
    const cumulative = by === "gelu"
      ? this.#op("Erf", this.#op("Div", name, this.#number(Math.SQRT2)))
      : this.#op("Tanh", this.#inner(name));
    const one = this.#op("Add", cumulative, this.#number(1));
    const product = this.#op("Mul", name, one);
    return { ...x, name: this.#op("Mul", product, this.#number(0.5)) };
  }

  /**
   * `sqrt(2 / pi) (x + 0.044715 x^3)`, the cube as products, which float16 has
   * room for.
   */
  #inner(x: string): string {
    const square = this.#op("Mul", x, x);
    const cubic = this.#op("Mul", square, this.#number(0.044715));
    const sum = this.#op("Add", cubic, this.#number(1));
    const scaled = this.#op("Mul", x, this.#number(Math.sqrt(2 / Math.PI)));
    return this.#op("Mul", scaled, sum);
  }

  glu(x: Value, form: "gelu" | "silu"): Value {
    const [left, right] = this.#split(x.name, 2);
    const gate = form === "gelu"
      ? this.activate({ ...x, name: left! }, form).name
      : this.#op("Mul", left!, this.#op("Sigmoid", left!));
    return { ...x, name: this.#op("Mul", gate, right!) };
  }

  dropout(x: Value): Value {
    return x;
  }

  /** The position of the first token. */
  get #first() {
    return { at: this.#graph.ints([0]) };
  }

  first(x: Value): Value {
    if (x.tokens !== "all") return x;
    const axis = x.heads === undefined ? 1 : 2;
    const name = this.#slice(x.name, axis, this.#graph.ints([1]));
    return { ...x, name, tokens: this.#first, read: undefined };
  }

  last(x: Value, padToken: number | undefined): Value {
    if (x.tokens !== "all") return x;
    const isToken = padToken === undefined
      ? this.#mask
      : this.#isOther(padToken);
    const at = this.#op(
      "ReduceMax",
      this.#op("Mul", isToken, this.#range),
      this.#graph.ints([1]),
      { keepdims: 0 },
    );
    const isLast = this.#float(
      this.#op("Equal", this.#range, this.#unsqueezed(at, 1)),
    );
    const axes = x.heads === undefined ? [2] : [1, 3];
    const kept = this.#op("Mul", x.name, this.#unsqueezed(isLast, ...axes));
    const axis = this.#graph.ints([x.heads === undefined ? 1 : 2]);
    const name = this.#op("ReduceSum", kept, axis);
    return { ...x, name, tokens: { at }, read: undefined };
  }

  mean(x: Value): Value {
    const mask = this.#unsqueezed(this.#float(this.#mask), 2);
    const axis = this.#graph.ints([1]);
    const sum = this.#op("ReduceSum", this.#op("Mul", x.name, mask), axis);
    const count = this.#op("ReduceSum", mask, axis);
    return { ...x, name: this.#op("Div", sum, count), tokens: this.#first };
  }

  narrow(x: Value, read: Read<Value>): Value {
    return { ...x, read };
  }
}
