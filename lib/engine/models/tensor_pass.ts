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
  layerNorm,
  normFrozen,
  trainedLayerNorm,
  trainedNorm,
} from "../ops/layer_norm.ts";
import {
  disentangle,
  ofDistances,
  positionBias,
  rotary,
} from "../ops/positions.ts";
import type {
  AttentionOptions,
  Index,
  Norm,
  Pass,
  RelativePositions,
} from "./model.ts";
import { type PassTensors, PassWeights } from "./pass_weights.ts";

/** A padded batch as tensors, all `[batch, seq]`. */
export interface BatchTensors extends Readonly<Record<Index, tf.Tensor2D>> {
  /** 1 for tokens and 0 for padding, float32; undefined where nothing is padded */
  readonly mask: tf.Tensor2D | undefined;
}

/** Options of a forward pass. */
interface PassOptions extends PassTensors {
  readonly input: BatchTensors;
  /** Keys of dropout masks; undefined switches dropout off. */
  readonly keys?: DropoutKeys | undefined;
  /** Called with all hidden states of the embeddings and every layer, `[sequences * tokens, hidden]`. */
  readonly observe?: ((hidden: tf.Tensor2D) => void) | undefined;
}

/** A tensor of a forward pass. */
interface Activation {
  /** `[sequences * tokens, width]`, or heads: `[sequences, heads, tokens, depth]` */
  readonly value: tf.Tensor;
  /** Sequences at one rank. */
  readonly sequences: number;
  readonly tokens: number;
  /** True if it depends on trained parameters. */
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
  readonly #weights: PassWeights;
  readonly #masks = new Map<number, tf.Tensor4D>();

  constructor(options: PassOptions) {
    this.#options = options;
    [this.#batch, this.#seq] = options.input.ids.shape;
    this.#weights = new PassWeights(options);
  }

  get tokens(): number {
    return this.#seq;
  }

  embed(
    tables: readonly (readonly [string, Index])[],
    norm: Norm,
    rate: number,
  ): Activation {
    const { input } = this.#options;
    const shape = { sequences: this.#batch, tokens: this.#seq };
    const layerNorm = this.#weights.norm(norm);
    const found = tables.map(([table, index]) => ({
      ...this.#weights.table(table),
      ids: input[index],
    }));
    if (!found.some(({ hasGradient }) => hasGradient)) {
      const rows = found.map(({ value, ids }) => lookUp(value, ids));
      return {
        ...shape,
        value: normFrozen(rows, layerNorm, this.#dropout(rate)),
        hasGradient: false,
      };
    }
    const rows = found.map(({ value, ids }) => lookUpTrained(value, ids));
    const last = rows.pop()!;
    const normed = rows.length === 0
      ? trainedLayerNorm(last, layerNorm)
      : trainedNorm(
        rows.reduce((sum, part) => tf.add(sum, part)),
        last,
        layerNorm,
        undefined,
      );
    return {
      ...shape,
      value: dropout(normed, this.#dropout(rate)),
      hasGradient: true,
    };
  }

  rows(table: string, rows: readonly number[]): Activation {
    const { value, hasGradient } = this.#weights.table(table);
    const ids = tf.tensor2d(rows as number[], [1, rows.length], "int32");
    return {
      value: lookUpTrained(value, ids),
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
    const { value, hasGradient } = this.#weights.table(table);
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
    // The first token is at position 0, where the angles are 0.
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
      Math.max(...parts.map(({ value }) => value.shape[0]));
    // Positions are one sequence: computed once, at each rank, or at that of each example.
    const groups = count(ofPositions);
    const sequences = this.#options.ranks.perExample
      ? query.sequences
      : Math.max(count(contents), query.sequences * groups);
    const ofContents = (x: Activation) =>
      repeated(x.value as tf.Tensor4D, sequences);
    const byDistance = (x: Activation | undefined) =>
      x &&
      ofDistances(repeated(x.value as tf.Tensor4D, groups), positions.rows);
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
    const sequences = Math.max(...parts.map(({ value }) => value.shape[0]));
    const [q, k, v] = [query, key, value].map(({ value }) =>
      repeated(value as tf.Tensor4D, sequences)
    ) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
    const depth = q.shape[3];
    const common = {
      mask: this.#mask(sequences),
      scale: options.scale ?? 1 / Math.sqrt(depth),
      dropout: this.#dropout(options.dropout),
    };
    const context = window !== undefined && this.#seq > window + 1
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
    const { product, bias, hasGradient } = this.#weights.product([module], x);
    const rows = Math.max(product.shape[0], residual.value.shape[0]);
    const y = repeated(product, rows);
    const other = repeated(residual.value as tf.Tensor2D, rows);
    const source = this.#dropout(rate);
    return {
      ...x,
      value: bias === undefined
        ? trainedNorm(y, other, this.#weights.norm(norm), source)
        : addAndNorm(y, bias, other, this.#weights.norm(norm), source),
      hasGradient: hasGradient || residual.hasGradient,
    };
  }

  add(
    module: string,
    x: Activation,
    residual: Activation,
    rate: number,
  ): Activation {
    const { product, bias, hasGradient } = this.#weights.product([module], x);
    const rows = Math.max(product.shape[0], residual.value.shape[0]);
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
    const isTrained = this.#weights.isTrained(`${norm.name}.weight`);
    return {
      ...x,
      value: isTrained
        ? trainedLayerNorm(value, this.#weights.norm(norm))
        : layerNorm(value, this.#weights.norm(norm)),
      hasGradient: x.hasGradient || isTrained,
    };
  }

  gelu(module: string, x: Activation): Activation {
    const { product, bias, hasGradient } = this.#weights.product([module], x);
    const added = bias ?? tf.zeros([product.shape[1]]) as tf.Tensor1D;
    return { ...x, value: biasGelu(product, added), hasGradient };
  }

  geglu(module: string, x: Activation): Activation {
    const { product, bias, hasGradient } = this.#weights.product([module], x);
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
    const { product, bias, hasGradient } = this.#weights.product(
      modules,
      x,
      true,
    );
    const value = bias === undefined ? product : tf.add(product, bias);
    return { ...x, value, hasGradient };
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
