import * as tf from "@tensorflow/tfjs-core";
import { attention, joinHeads, splitHeads } from "../ops/attention.ts";
import {
  dropout,
  type DropoutKeys,
  type DropoutSource,
} from "../ops/dropout.ts";
import { lookUp, lookUpTrained } from "../ops/embedding.ts";
import { biasGelu } from "../ops/gelu.ts";
import {
  addAndNorm,
  type LayerNorm,
  normFrozen,
  trainedNorm,
} from "../ops/layer_norm.ts";
import {
  adaptedLinear,
  type AdapterBlock,
  frozenProduct,
  type RankVectors,
  trainedLinear,
} from "../ops/linear.ts";
import type { Index, Norm, ParameterLayout, Pass } from "./model.ts";
import { factorA, factorB } from "./parameters.ts";
import type { FrozenProduct, FrozenWeights } from "./weights.ts";

/** A padded batch as tensors, all `[batch, seq]`. */
export interface BatchTensors extends Readonly<Record<Index, tf.Tensor2D>> {
  /** 1 for tokens and 0 for padding, float32; undefined where nothing is padded */
  readonly mask: tf.Tensor2D | undefined;
}

/** The ranks in use in a model: the same for all modules, or one for each. */
export interface ModelRanks {
  /** `[ranks, rank]`, or `[modules, ranks, rank]` */
  readonly scale: tf.Tensor2D | tf.Tensor3D;
  /** `[rank]`, or `[modules, rank]` */
  readonly gradientMask: tf.Tensor1D | tf.Tensor2D;
}

/** Number of ranks at which each sequence is computed. */
export function rankCount({ scale }: Pick<ModelRanks, "scale">): number {
  return scale.shape.at(-2)!;
}

/** What a forward pass is computed with. */
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

  embed(
    tables: readonly (readonly [string, Index])[],
    norm: Norm,
    rate: number,
  ): Activation {
    const { weights, parameters, input } = this.#options;
    const layerNorm = this.#norm(norm);
    if (weights !== undefined) {
      const rows = tables.map(([table, index]) =>
        lookUp(
          weights.tensors.get(`${table}.weight`) as tf.Tensor2D,
          input[index],
        )
      );
      return {
        value: normFrozen(rows, layerNorm, this.#dropout(rate)),
        tokens: this.#seq,
        hasGradient: false,
      };
    }
    const rows = tables.map(([table, index]) =>
      lookUpTrained(parameters[`${table}.weight`] as tf.Tensor2D, input[index])
    );
    const last = rows.pop()!;
    const others = rows.reduce((sum, part) => tf.add(sum, part));
    const normed = trainedNorm(others, last, layerNorm, undefined);
    return {
      value: dropout(normed, this.#dropout(rate)),
      tokens: this.#seq,
      hasGradient: true,
    };
  }

  heads(
    modules: readonly string[],
    x: Activation,
    heads: number,
  ): Activation[] {
    const y = this.#linear(modules, x);
    const value = y.value as tf.Tensor2D;
    return splitHeads(value, value.shape[0] / x.tokens, heads, modules.length)
      .map((value) => ({ ...y, value }));
  }

  attention(
    query: Activation,
    key: Activation,
    value: Activation,
    rate: number,
  ): Activation {
    const parts = [query, key, value];
    const sequences = Math.max(...parts.map(({ value }) => value.shape[0]!));
    const [q, k, v] = parts.map(({ value }) =>
      repeated(value as tf.Tensor4D, sequences)
    ) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
    const context = attention(
      q,
      k,
      v,
      this.#mask(sequences),
      this.#dropout(rate),
    );
    return {
      value: joinHeads(context),
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
      value: bias === undefined
        ? trainedNorm(y, other, this.#norm(norm), source)
        : addAndNorm(y, bias, other, this.#norm(norm), source),
      tokens: x.tokens,
      hasGradient: hasGradient || residual.hasGradient,
    };
  }

  gelu(module: string, x: Activation): Activation {
    const { product, bias, hasGradient } = this.#product([module], x);
    const added = bias ?? tf.zeros([product.shape[1]]) as tf.Tensor1D;
    return { ...x, value: biasGelu(product, added), hasGradient };
  }

  linear(module: string, x: Activation): Activation {
    return this.#linear([module], x);
  }

  tanh(x: Activation): Activation {
    return { ...x, value: tf.tanh(x.value) };
  }

  dropout(x: Activation, rate: number): Activation {
    return { ...x, value: dropout(x.value, this.#dropout(rate)) };
  }

  first(x: Activation): Activation {
    if (x.tokens === 1) return x;
    const width = x.value.shape[1]!;
    const bySequence = tf.reshape(x.value, [-1, x.tokens, width]);
    const value = tf.reshape(
      tf.slice(bySequence, [0, 0, 0], [-1, 1, width]),
      [-1, width],
    );
    return { ...x, value, tokens: 1 };
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
    return { value, tokens: x.tokens, hasGradient };
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
          bias: parameters[`${module}.bias`] as tf.Tensor1D,
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
          rows: this.#batch * x.tokens,
          inputGradient: x.hasGradient,
        },
      ),
      bias: withBias ? undefined : bias,
      hasGradient: true,
    };
  }

  #frozen(modules: readonly string[]): FrozenProduct {
    const product = this.#options.weights?.products.get(modules[0]!);
    if (product === undefined || product.modules.length !== modules.length) {
      throw new TypeError(`No weights were loaded for ${modules.join(", ")}`);
    }
    return product;
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

  #norm({ name, epsilon }: Norm): LayerNorm {
    const { weights, parameters } = this.#options;
    const tensor = (kind: string) =>
      (weights?.tensors.get(`${name}.${kind}`) ??
        parameters[`${name}.${kind}`]) as tf.Tensor1D;
    return { gamma: tensor("weight"), beta: tensor("bias"), epsilon };
  }

  #dropout(rate: number): DropoutSource | undefined {
    const { keys } = this.#options;
    return keys && { rate, keys };
  }

  /** What is added to the scores: 0 for tokens, -1e9 for padding. `[sequences, 1, 1, seq]` */
  #mask(sequences: number): tf.Tensor4D | undefined {
    const { mask } = this.#options.input;
    if (mask === undefined) return undefined;
    let added = this.#masks.get(sequences);
    if (added === undefined) {
      const once = tf.reshape(
        tf.mul(tf.sub(mask, 1), 1e9),
        [this.#batch, 1, 1, this.#seq],
      ) as tf.Tensor4D;
      added = repeated(once, sequences);
      this.#masks.set(sequences, added);
    }
    return added;
  }
}

/** Repeats what all ranks share to a number of rows. */
function repeated<T extends tf.Tensor>(x: T, rows: number): T {
  const [shared] = x.shape as [number];
  if (shared === rows) return x;
  return tf.tile(x, [rows / shared, ...x.shape.slice(1).map(() => 1)]) as T;
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
