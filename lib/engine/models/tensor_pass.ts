import * as tf from "@tensorflow/tfjs-core";
import {
  attention,
  joinHeads,
  MASKED,
  splitHeads,
  windowedAttention,
} from "../ops/attention.ts";
import {
  dropout,
  type DropoutKeys,
  type DropoutSource,
} from "../ops/dropout.ts";
import { lookUp, lookUpTrained } from "../ops/embedding.ts";
import { biasGeglu, biasGelu } from "../ops/gelu.ts";
import {
  addAndNorm,
  addResidual,
  type LayerNorm,
  layerNorm,
  normFrozen,
  trainedLayerNorm,
  trainedNorm,
} from "../ops/layer_norm.ts";
import {
  adaptedLinear,
  type AdapterBlock,
  frozenProduct,
  type RankVectors,
  trainedLinear,
} from "../ops/linear.ts";
import { disentangle, positionBias, rotary } from "../ops/positions.ts";
import type {
  AttentionOptions,
  Index,
  Norm,
  ParameterLayout,
  Pass,
  RelativePositions,
} from "./model.ts";
import { factorA, factorB } from "./parameters.ts";
import type { FrozenProduct, FrozenWeights } from "./weights.ts";

/** A padded batch as tensors, all `[batch, seq]`. */
export interface BatchTensors extends Readonly<Record<Index, tf.Tensor2D>> {
  /** 1 for tokens and 0 for padding, float32; undefined where nothing is padded */
  readonly mask: tf.Tensor2D | undefined;
}

/** The ranks in use in a model: the same for all modules, or one for each. */
export interface ModelRanks {
  /** True if each sequence has a rank of its own, instead of every sequence being computed at all of them. */
  readonly perExample?: boolean;
  /** `[ranks, rank]`, or `[modules, ranks, rank]`; `[sequences, rank]` if each sequence has its own */
  readonly scale: tf.Tensor2D | tf.Tensor3D;
  /** `[rank]`, or `[modules, rank]` */
  readonly gradientMask: tf.Tensor1D | tf.Tensor2D;
}

/** Number of ranks at which each sequence is computed. */
export function rankCount(
  { scale, perExample }: Omit<ModelRanks, "gradientMask">,
): number {
  return perExample ? 1 : scale.shape.at(-2)!;
}

/** Options of a forward pass. */
interface PassOptions {
  /** Undefined where the encoder's weights are among the parameters. */
  readonly weights: FrozenWeights | undefined;
  readonly layout: ParameterLayout;
  /** The trained tensors by name. */
  readonly parameters: Readonly<Record<string, tf.Tensor>>;
  readonly input: BatchTensors;
  readonly ranks: ModelRanks;
  /** Keys of dropout masks; undefined switches dropout off. */
  readonly keys?: DropoutKeys | undefined;
  /** Called with all hidden states of the embeddings and every layer, `[sequences * tokens, hidden]`. */
  readonly observe?: ((hidden: tf.Tensor2D) => void) | undefined;
}

/** A tensor on its way through a model. */
interface Activation {
  /** `[sequences * tokens, width]`, or heads: `[sequences, heads, tokens, depth]` */
  readonly value: tf.Tensor;
  /** Sequences at one rank. */
  readonly sequences: number;
  readonly tokens: number;
  /** True if it depends on anything trained. */
  readonly hasGradient: boolean;
}

/**
 * Computes a forward pass.
 *
 * At several ranks, every sequence is computed at each of them, one rank after
 * the other; what does not depend on the rank is computed once.
 */
export class TensorPass implements Pass<Activation> {
  readonly #options: PassOptions;
  readonly #batch: number;
  readonly #seq: number;
  readonly #modules: ReadonlyMap<string, number>;
  readonly #ranks: readonly RankVectors[];
  readonly #masks = new Map<number, tf.Tensor4D>();

  constructor(options: PassOptions) {
    const { layout, input, ranks } = options;
    this.#options = options;
    [this.#batch, this.#seq] = input.ids.shape;
    this.#modules = new Map(layout.modules.map(({ name }, i) => [name, i]));
    this.#ranks = rankVectors(ranks, layout.modules.length);
  }

  get tokens(): number {
    return this.#seq;
  }

  embed(
    tables: readonly (readonly [string, Index])[],
    norm: Norm,
    rate: number,
  ): Activation {
    const { weights, parameters, input } = this.#options;
    const shape = { sequences: this.#batch, tokens: this.#seq };
    const layerNorm = this.#norm(norm);
    if (weights !== undefined) {
      const rows = tables.map(([table, index]) =>
        lookUp(this.#tensor(`${table}.weight`) as tf.Tensor2D, input[index])
      );
      return {
        ...shape,
        value: normFrozen(rows, layerNorm, this.#dropout(rate)),
        hasGradient: false,
      };
    }
    const rows = tables.map(([table, index]) =>
      lookUpTrained(parameters[`${table}.weight`] as tf.Tensor2D, input[index])
    );
    const last = rows.pop()!;
    const others = rows.length === 0
      ? undefined
      : rows.reduce((sum, part) => tf.add(sum, part));
    const normed = others === undefined
      ? trainedLayerNorm(last, layerNorm)
      : trainedNorm(others, last, layerNorm, undefined);
    return {
      ...shape,
      value: dropout(normed, this.#dropout(rate)),
      hasGradient: true,
    };
  }

  rows(table: string, rows: readonly number[]): Activation {
    const { value, hasGradient } = this.#table(table);
    const ids = tf.tensor2d(rows as number[], [1, rows.length], "int32");
    return {
      value: hasGradient ? lookUpTrained(value, ids) : lookUp(value, ids),
      sequences: 1,
      tokens: rows.length,
      hasGradient,
    };
  }

  positionBias(
    table: string,
    bucket: (distance: number) => number,
    factor: number,
  ): Activation {
    const { value, hasGradient } = this.#table(table);
    return {
      value: positionBias(value, this.#seq, bucket, factor),
      sequences: 1,
      tokens: this.#seq,
      hasGradient,
    };
  }

  heads(
    modules: readonly string[],
    x: Activation,
    heads: number,
    parts: number = modules.length,
  ): Activation[] {
    const y = this.#linear(modules, x);
    const value = y.value as tf.Tensor2D;
    return splitHeads(value, value.shape[0] / x.tokens, heads, parts)
      .map((value) => ({ ...y, value }));
  }

  rotary(x: Activation, theta: number): Activation {
    // The first token is at position 0, where nothing turns.
    if (x.tokens === 1) return x;
    return { ...x, value: rotary(x.value as tf.Tensor4D, theta) };
  }

  disentangle(
    query: Activation,
    key: Activation,
    positions: RelativePositions<Activation>,
  ): Activation {
    const contents = [query, key];
    const ofPositions = [positions.query, positions.key].flatMap((it) =>
      it ?? []
    );
    const count = (parts: readonly Activation[]) =>
      Math.max(...parts.map(({ value }) => value.shape[0]!));
    // Positions are one sequence: computed once, at each rank, or at that of each example.
    const groups = count(ofPositions);
    const sequences = this.#options.ranks.perExample
      ? query.sequences
      : Math.max(count(contents), query.sequences * groups);
    const ofContents = (x: Activation) =>
      repeated(x.value as tf.Tensor4D, sequences);
    const byDistance = (x: Activation | undefined) =>
      x && rowsOf(
        repeated(x.value as tf.Tensor4D, groups),
        positions.rows,
        x.hasGradient,
      );
    return {
      value: disentangle({
        query: ofContents(query),
        key: ofContents(key),
        positionQuery: byDistance(positions.query),
        positionKey: byDistance(positions.key),
      }),
      sequences: query.sequences,
      tokens: query.tokens,
      hasGradient: [...contents, ...ofPositions].some((it) => it.hasGradient),
    };
  }

  attention(
    query: Activation,
    key: Activation,
    value: Activation,
    options: AttentionOptions<Activation>,
  ): Activation {
    const { bias, window } = options;
    const parts = [query, key, value, ...(bias === undefined ? [] : [bias])];
    const sequences = Math.max(...parts.map(({ value }) => value.shape[0]!));
    let [q, k, v] = [query, key, value].map(({ value }) =>
      repeated(value as tf.Tensor4D, sequences)
    ) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
    const depth = q.shape[3];
    const common = {
      mask: this.#mask(sequences),
      scale: options.scale ?? 1 / Math.sqrt(depth),
      dropout: this.#dropout(options.dropout),
    };
    const isWindowed = window !== undefined && this.#seq > window + 1;
    if (isWindowed && query.tokens === 1) {
      // The first token sees the first tokens only.
      const near = <T extends tf.Tensor>(x: T, axis: number): T =>
        tf.slice(
          x,
          x.shape.map(() => 0),
          x.shape.map((_, i) => i === axis ? window + 1 : -1),
        );
      [k, v] = [near(k, 2), near(v, 2)];
      common.mask &&= near(common.mask, 3);
    }
    const context = isWindowed && query.tokens > 1
      ? windowedAttention(q, k, v, window, common)
      : attention(q, k, v, {
        ...common,
        bias: bias && ofSequences(bias.value as tf.Tensor4D, sequences),
        biasGradient: bias?.hasGradient ?? false,
      });
    return {
      value: joinHeads(context),
      sequences: query.sequences,
      tokens: query.tokens,
      hasGradient: parts.some(({ hasGradient }) => hasGradient),
    };
  }

  addNorm(
    module: string,
    x: Activation,
    residual: Activation,
    norm: Norm,
    rate: number,
  ): Activation {
    const { product, bias, hasGradient } = this.#product([module], x);
    const rows = Math.max(product.shape[0], residual.value.shape[0]!);
    const y = repeated(product, rows);
    const other = repeated(residual.value as tf.Tensor2D, rows);
    const source = this.#dropout(rate);
    return {
      ...x,
      value: bias === undefined
        ? trainedNorm(y, other, this.#norm(norm), source)
        : addAndNorm(y, bias, other, this.#norm(norm), source),
      hasGradient: hasGradient || residual.hasGradient,
    };
  }

  add(
    module: string,
    x: Activation,
    residual: Activation,
    rate: number,
  ): Activation {
    const { product, bias, hasGradient } = this.#product([module], x);
    const rows = Math.max(product.shape[0], residual.value.shape[0]!);
    return {
      ...x,
      value: addResidual(
        repeated(product, rows),
        bias,
        repeated(residual.value as tf.Tensor2D, rows),
        this.#dropout(rate),
      ),
      hasGradient: hasGradient || residual.hasGradient,
    };
  }

  norm(x: Activation, norm: Norm): Activation {
    const value = x.value as tf.Tensor2D;
    const isTrained =
      this.#options.parameters[`${norm.name}.weight`] !== undefined;
    return {
      ...x,
      value: isTrained
        ? trainedLayerNorm(value, this.#norm(norm))
        : layerNorm(value, this.#norm(norm)),
      hasGradient: x.hasGradient || isTrained,
    };
  }

  gelu(module: string, x: Activation): Activation {
    const { product, bias, hasGradient } = this.#product([module], x);
    const added = bias ?? tf.zeros([product.shape[1]]) as tf.Tensor1D;
    return { ...x, value: biasGelu(product, added), hasGradient };
  }

  geglu(module: string, x: Activation): Activation {
    const { product, bias, hasGradient } = this.#product([module], x);
    return { ...x, value: biasGeglu(product, bias), hasGradient };
  }

  linear(module: string, x: Activation): Activation {
    return this.#linear([module], x);
  }

  relu(x: Activation): Activation {
    return { ...x, value: tf.relu(x.value) };
  }

  tanh(x: Activation): Activation {
    return { ...x, value: tf.tanh(x.value) };
  }

  dropout(x: Activation, rate: number): Activation {
    return { ...x, value: dropout(x.value, this.#dropout(rate)) };
  }

  first(x: Activation): Activation {
    if (x.tokens === 1) return x;
    if (x.value.rank === 4) {
      const value = tf.slice(x.value, [0, 0, 0, 0], [-1, -1, 1, -1]);
      return { ...x, value, tokens: 1 };
    }
    const width = x.value.shape[1]!;
    const value = tf.reshape(
      tf.slice(this.#bySequence(x), [0, 0, 0], [-1, 1, width]),
      [-1, width],
    );
    return { ...x, value, tokens: 1 };
  }

  mean(x: Activation): Activation {
    const all = this.#bySequence(x);
    const { mask } = this.#options.input;
    if (mask === undefined) return { ...x, value: tf.mean(all, 1), tokens: 1 };
    const weights = repeated(
      tf.div(mask, tf.sum(mask, 1, true)) as tf.Tensor2D,
      all.shape[0],
    );
    const value = tf.sum(tf.mul(all, tf.expandDims(weights, 2)), 1);
    return { ...x, value, tokens: 1 };
  }

  /** `[sequences * tokens, width]` -> `[sequences, tokens, width]` */
  #bySequence(x: Activation): tf.Tensor3D {
    return tf.reshape(x.value, [-1, x.tokens, x.value.shape[1]!]);
  }

  read(x: Activation): Activation {
    return this.#options.observe === undefined ? this.first(x) : x;
  }

  observe(x: Activation): void {
    this.#options.observe?.(x.value as tf.Tensor2D);
  }

  #linear(modules: readonly string[], x: Activation): Activation {
    const { product, bias, hasGradient } = this.#product(modules, x, true);
    const value = bias === undefined ? product : tf.add(product, bias);
    return { ...x, value, hasGradient };
  }

  /**
   * Some modules' outputs side by side; of frozen modules without the bias,
   * which is handed out for the caller to add.
   *
   * @param withBias True to add the bias of adapted modules here
   */
  #product(
    modules: readonly string[],
    x: Activation,
    withBias = false,
  ): {
    readonly product: tf.Tensor2D;
    readonly bias: tf.Tensor1D | undefined;
    readonly hasGradient: boolean;
  } {
    const { parameters } = this.#options;
    const input = x.value as tf.Tensor2D;
    if (parameters[`${modules[0]}.weight`] !== undefined) {
      const outputs = modules.map((module) =>
        trainedLinear(input, {
          weight: parameters[`${module}.weight`] as tf.Tensor2D,
          bias: parameters[`${module}.bias`] as tf.Tensor1D | undefined,
        })
      );
      return {
        product: outputs.length === 1 ? outputs[0]! : tf.concat(outputs, 1),
        bias: undefined,
        hasGradient: true,
      };
    }
    const frozen = this.#frozen(modules);
    const { weight, bias } = frozen;
    const blocks = this.#adapters(frozen);
    if (blocks.length === 0) {
      return {
        product: frozenProduct(input, weight),
        bias,
        hasGradient: x.hasGradient,
      };
    }
    return {
      product: adaptedLinear(
        input,
        weight,
        withBias ? bias : undefined,
        blocks,
        {
          rows: this.#options.ranks.perExample
            ? x.tokens
            : x.sequences * x.tokens,
          inputGradient: x.hasGradient,
        },
      ),
      bias: withBias ? undefined : bias,
      hasGradient: true,
    };
  }

  /** The weights of some modules, as they were joined or as a part of that. */
  #frozen(modules: readonly string[]): FrozenProduct {
    const products = this.#options.weights?.products;
    const joined = products?.get(modules[0]!) ??
      [...products?.values() ?? []].find((it) =>
        it.modules.includes(modules[0]!)
      );
    const start = joined?.modules.indexOf(modules[0]!) ?? 0;
    const end = start + modules.length;
    if (joined?.modules.slice(start, end).join() !== modules.join()) {
      throw new TypeError(`No weights were loaded for ${modules.join(", ")}`);
    }
    if (joined.modules.length === modules.length) return joined;
    const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
    const outputs = joined.outputs.slice(start, end);
    const [from, size] = [sum(joined.outputs.slice(0, start)), sum(outputs)];
    return {
      modules,
      outputs,
      weight: tf.slice(joined.weight, [from, 0], [size, -1]),
      bias: joined.bias && tf.slice(joined.bias, [from], [size]),
    };
  }

  #adapters({ modules, outputs }: FrozenProduct): AdapterBlock[] {
    const { parameters } = this.#options;
    const blocks: AdapterBlock[] = [];
    let offset = 0;
    for (const [i, name] of modules.entries()) {
      const module = this.#modules.get(name);
      if (module !== undefined) {
        blocks.push({
          a: parameters[factorA(name)] as tf.Tensor2D,
          b: parameters[factorB(name)] as tf.Tensor2D,
          offset,
          ranks: this.#ranks[module]!,
        });
      }
      offset += outputs[i]!;
    }
    return blocks;
  }

  /** A tensor that is frozen, or among what is trained. */
  #tensor(name: string): tf.Tensor | undefined {
    const { weights, parameters } = this.#options;
    return weights?.tensors.get(name) ?? parameters[name];
  }

  #table(name: string): { value: tf.Tensor2D; hasGradient: boolean } {
    return {
      value: this.#tensor(`${name}.weight`) as tf.Tensor2D,
      hasGradient: this.#options.weights === undefined,
    };
  }

  #norm({ name, epsilon }: Norm): LayerNorm {
    const gamma = this.#tensor(`${name}.weight`) as tf.Tensor1D;
    const beta = this.#tensor(`${name}.bias`) ?? tf.zeros(gamma.shape);
    return { gamma, beta: beta as tf.Tensor1D, epsilon };
  }

  #dropout(rate: number): DropoutSource | undefined {
    const { keys } = this.#options;
    return keys && { rate, keys };
  }

  /** Values added to the scores: 0 for tokens, -1e9 for padding. `[sequences, 1, 1, seq]` */
  #mask(sequences: number): tf.Tensor4D | undefined {
    const { mask } = this.#options.input;
    if (mask === undefined) return undefined;
    let added = this.#masks.get(sequences);
    if (added === undefined) {
      const once = tf.reshape(
        tf.mul(tf.sub(1, mask), MASKED),
        [this.#batch, 1, 1, this.#seq],
      ) as tf.Tensor4D;
      added = repeated(once, sequences);
      this.#masks.set(sequences, added);
    }
    return added;
  }
}

/** Repeats rows shared by all ranks. */
function repeated<T extends tf.Tensor>(x: T, rows: number): T {
  const [shared] = x.shape as [number];
  if (shared === rows) return x;
  return tf.tile(x, [rows / shared, ...x.shape.slice(1).map(() => 1)]) as T;
}

/** Repeats what all ranks share to a number of sequences, unless all sequences share it. */
function ofSequences(x: tf.Tensor4D, sequences: number): tf.Tensor4D {
  return x.shape[0] === 1 ? x : repeated(x, sequences);
}

/** Some rows of heads `[sequences, heads, rows, depth]`, in the order given and as often as asked for. */
function rowsOf(
  x: tf.Tensor4D,
  rows: readonly number[],
  hasGradient: boolean,
): tf.Tensor4D {
  if (rows.every((row, i) => row === i)) return x;
  const [sequences, heads, count, depth] = x.shape;
  const blocks = sequences * heads;
  const ids = Int32Array.from(
    { length: blocks * rows.length },
    (_, i) => Math.floor(i / rows.length) * count + rows[i % rows.length]!,
  );
  const table = tf.reshape(x, [blocks * count, depth]) as tf.Tensor2D;
  const all = tf.tensor2d(ids, [1, ids.length], "int32");
  return tf.reshape(
    hasGradient ? lookUpTrained(table, all) : lookUp(table, all),
    [sequences, heads, rows.length, depth],
  );
}

/** The rank vectors of each module. */
function rankVectors(ranks: ModelRanks, modules: number): RankVectors[] {
  const scale = byModule<tf.Tensor2D>(ranks.scale, 2, modules);
  const mask = byModule<tf.Tensor1D>(ranks.gradientMask, 1, modules);
  return scale.map((scale, i) => ({ scale, gradientMask: mask[i]! }));
}

/** One tensor of `rank` dimensions for each module. */
function byModule<T extends tf.Tensor>(
  tensor: tf.Tensor,
  rank: number,
  modules: number,
): T[] {
  if (tensor.rank === rank) return Array<T>(modules).fill(tensor as T);
  if (tensor.shape[0] !== modules) {
    throw new RangeError(
      `Ranks are given for ${
        tensor.shape[0]
      } modules, but ${modules} carry adapters`,
    );
  }
  return tf.unstack(tensor) as T[];
}
