import * as tf from "@tensorflow/tfjs-core";
import {
  attention,
  joinHeads,
  MASKED,
  rangeOf,
  splitHeads,
  tokenRange,
} from "../ops/attention.ts";
import { reachOf } from "../ops/blocks.ts";
import { dropout, type DropoutSource } from "../ops/dropout.ts";
import { lookUp } from "../ops/embedding.ts";
import { activation } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import {
  type Angles,
  disentangle,
  ofDistances,
  positionBias,
  rotary,
  rotaryAngles,
} from "../ops/positions.ts";
import { tokenLosses } from "../ops/vocabulary.ts";
import {
  type ActivationName,
  type AttentionOptions,
  type Index,
  narrowed,
  type NormOptions,
  type Pass,
  type PositionBiasOptions,
  type Read,
  type RelativePositions,
  type SplitModule,
  WithHeads,
} from "./model.ts";
import {
  type Activation,
  type PassTensors,
  PassWeights,
  type PendingLinear,
} from "./pass_weights.ts";

/** A padded batch as tensors, all `[batch, seq]`. */
export interface BatchTensors extends Readonly<Record<Index, tf.Tensor2D>> {
  /**
   * 1 for tokens and 0 for padding, float32; undefined where nothing is padded
   */
  readonly mask: tf.Tensor2D | undefined;
  /**
   * The token after each, int32, for a language head to give its loss instead
   * of logits.
   */
  readonly next?: tf.Tensor2D | undefined;
}

export interface TensorPassOptions extends PassTensors {
  readonly input: BatchTensors;
  /** Position of the input's first token in its sequence, 0 by default. */
  readonly start?: number;
  /** Minimum number of blocks of attention, for threads to compute. */
  readonly minBlocks?: number;
  /** True to give what the head's last layer takes, instead of its logits. */
  readonly givesFeatures?: boolean | undefined;
}

/** The activation with another value. */
function withValue(
  { sequences, tokens, at, read }: Activation,
  value: tf.Tensor,
): Activation {
  return { value, sequences, tokens, at, read };
}

/**
 * Computes a forward pass.
 *
 * At several ranks, every sequence is computed at each of them, one rank after
 * the other; what does not depend on the rank is computed once.
 */
export class TensorPass extends WithHeads<Activation>
  implements Pass<Activation> {
  readonly tokens: number;
  readonly #batch: number;
  readonly #weights: PassWeights;
  readonly #masks = new Map<number, tf.Tensor4D>();
  readonly #angles = new Map<string, Angles>();

  constructor(protected readonly options: TensorPassOptions) {
    super();
    [this.#batch, this.tokens] = options.input.ids.shape;
    this.#weights = new PassWeights(options);
  }

  embed(name: string, index: Index): Activation {
    return this.#rows(name, this.options.input[index]);
  }

  rows(name: string, rows: readonly number[]): Activation {
    return this.#rows(name, tf.tensor2d([...rows], [1, rows.length], "int32"));
  }

  #rows(name: string, ids: tf.Tensor2D): Activation {
    const [sequences, tokens] = ids.shape;
    const value = lookUp(this.#weights.table(name), ids);
    return { value, sequences, tokens };
  }

  positionBias(name: string, options: PositionBiasOptions): Activation {
    const { tokens } = this;
    const value = positionBias(this.#weights.table(name), tokens, options);
    return { value, sequences: 1, tokens };
  }

  linear(name: string | readonly string[], x: Activation): Activation {
    return this.#weights.linear([name].flat(), x);
  }

  logits(name: string, x: Activation): Activation {
    return this.options.givesFeatures ? x : this.linear(name, x);
  }

  vocabulary(name: string, x: Activation): Activation {
    const { next } = this.options.input;
    const states = x.value as tf.Tensor2D;
    const table = this.#weights.table(name);
    if (next === undefined) {
      return withValue(x, states.matMul(table, false, true));
    }
    const ofRows = repeated<tf.Tensor1D>(next.reshape([-1]), states.shape[0]);
    return withValue(x, tokenLosses(states, table, ofRows));
  }

  split(x: Activation, modules: readonly SplitModule[]): Activation[] {
    const y = this.linear(modules.map(({ name }) => name), x);
    const counts = modules.flatMap(({ heads }) => heads);
    return splitHeads(y.value as tf.Tensor2D, y.tokens, counts)
      .map((value) => withValue(y, value));
  }

  rotary(x: Activation, frequencies: Float32Array): Activation {
    // The first token is at position 0, where the angles are 0.
    if (x.tokens === 1 && x.at === undefined) return x;
    const at = x.at && repeated(x.at, x.value.shape[0]!);
    const angles = this.#angles.getOrInsertComputed(
      frequencies.join(),
      () => rotaryAngles(this.tokens, frequencies, this.options.start),
    );
    return withValue(x, rotary(x.value as tf.Tensor4D, angles, at));
  }

  disentangle(
    query: Activation,
    key: Activation,
    positions: RelativePositions<Activation>,
  ): Activation {
    const contents = [query, key];
    const ofPositions = [positions.query, positions.key]
      .filter((it) => it !== undefined);
    // Positions are one sequence: computed once, at each rank, or at that of
    // each example.
    const groups = largest(ofPositions);
    const sequences = this.options.ranks.perExample
      ? query.sequences
      : Math.max(largest(contents), query.sequences * groups);
    const byDistance = (x: Activation | undefined) =>
      x && ofDistances(inHeads(x, groups), positions.rows);
    const value = disentangle({
      query: inHeads(query, sequences),
      key: inHeads(key, sequences),
      positionQuery: byDistance(positions.query),
      positionKey: byDistance(positions.key),
    });
    return withValue(query, value);
  }

  attention(
    query: Activation,
    key: Activation,
    value: Activation,
    options: AttentionOptions<Activation>,
  ): Activation {
    const { window = Infinity, causal } = options;
    if (options.bias !== undefined && (causal || window < Infinity)) {
      throw new TypeError(
        "A bias of attention is not supported with a causal mask or a window: attend to all tokens, or leave it out",
      );
    }
    const bias = options.bias && query.tokens === 1
      ? this.first(options.bias)
      : options.bias;
    const parts = [query, key, value, ...(bias === undefined ? [] : [bias])];
    const sequences = largest(parts);
    const q = inHeads(query, sequences);
    const k = inHeads(key, sequences);
    const v = inHeads(value, sequences);
    const context = attention(q, k, v, {
      mask: this.#mask(sequences),
      // One that all sequences share stays one.
      bias: bias && inHeads(bias, bias.value.shape[0] === 1 ? 1 : sequences),
      scale: options.scale ?? 1 / Math.sqrt(q.shape[3]),
      dropout: this.#dropout(options.dropout),
      ...reachOf(causal, this.tokens > window + 1 ? window : Infinity),
      at: query.at && repeated(query.at.reshape([-1, 1, 1, 1]), sequences),
      minBlocks: this.options.minBlocks,
    });
    return withValue(query, joinHeads(context));
  }

  norm(
    name: string,
    terms: readonly Activation[],
    { dropout: rate, ...options }: NormOptions,
  ): Activation {
    const [x, ...others] = narrowed(terms) as [Activation, ...Activation[]];
    const norm = this.#weights.norm(name, options);
    // A dropout of its own follows embeddings; otherwise, one of the sub-layer
    // precedes its residual.
    const last = rate === undefined ? others.pop() : undefined;
    const { product, bias, source }: PendingLinear = last === undefined
      ? { product: x.value as tf.Tensor2D, source: this.#dropout(rate) }
      : pendingOf(x);
    const sum = others.reduce((sum, { value }) => sum.add(value), product);
    const rows = Math.max(sum.shape[0], last?.value.shape[0] ?? 0);
    const y = layerNorm({
      ...norm,
      x: repeated(sum, rows),
      residual: last && repeated(last.value as tf.Tensor2D, rows),
      bias,
      source,
      ofProducts: last === undefined && rate === undefined,
    });
    return withValue(x, y);
  }

  add(...terms: [x: Activation, residual: Activation]): Activation {
    const [x, residual] = narrowed(terms) as typeof terms;
    const rows = Math.max(x.value.shape[0]!, residual.value.shape[0]!);
    const sum = repeated(x.value, rows).add(repeated(residual.value, rows));
    return withValue(x, sum);
  }

  activate(x: Activation, by: ActivationName): Activation {
    if (by === "relu" || by === "tanh") return withValue(x, x.value[by]());
    const { product, bias } = undropped(x);
    return withValue(x, activation(product, bias, by));
  }

  glu(x: Activation, form: "gelu" | "silu"): Activation {
    const { product, bias } = undropped(x);
    return withValue(x, activation(product, bias, form, "gated"));
  }

  dropout(x: Activation, rate: number): Activation {
    const source = this.#dropout(rate);
    return x.dropped?.(source) ?? withValue(x, dropout(x.value, source));
  }

  first(x: Activation): Activation {
    if (x.tokens === 1) return x;
    const [all, axis] = byToken(x);
    return oneToken(x, rangeOf(all, axis, 0, 1));
  }

  last(x: Activation, padToken: number | undefined): Activation {
    if (x.tokens === 1) return x;
    const isToken = padToken === undefined
      ? this.#isToken()
      : this.options.input.ids.notEqual(padToken).cast("float32");
    const range = tokenRange(x.tokens);
    const at: tf.Tensor1D = isToken.mul(range).max(1);
    const isLast = range.equal(at.expandDims(1)).cast("float32");
    return { ...weighted(x, isLast), at };
  }

  mean(x: Activation): Activation {
    const isToken = this.#isToken();
    return weighted(x, isToken.div(isToken.sum(1, true)));
  }

  /** 1 for tokens and 0 for padding: `[batch, seq]` */
  #isToken(): tf.Tensor {
    const { ids, mask } = this.options.input;
    return mask ?? tf.ones(ids.shape);
  }

  narrow(x: Activation, read: Read<Activation> | undefined): Activation {
    return { ...withValue(x, x.value), read };
  }

  #dropout(rate: number | undefined): DropoutSource | undefined {
    const { keys } = this.options;
    return keys && rate !== undefined ? { rate, keys } : undefined;
  }

  /**
   * Values added to the scores, which mask padding: `[sequences, 1, 1, seq]`
   */
  #mask(sequences: number): tf.Tensor4D | undefined {
    const { mask } = this.options.input;
    return mask && this.#masks.getOrInsertComputed(sequences, () => {
      const added = tf.sub(1, mask).mul(MASKED)
        .reshape<tf.Tensor4D>([this.#batch, 1, 1, this.tokens]);
      return repeated(added, sequences);
    });
  }
}

function pendingOf(x: Activation): PendingLinear {
  return x.pending?.() ?? { product: x.value as tf.Tensor2D };
}

/**
 * A product and its bias, for an activation function that does not apply
 * dropout to them.
 */
function undropped(x: Activation): PendingLinear {
  const pending = pendingOf(x);
  if (pending.source === undefined) return pending;
  throw new TypeError(
    "A dropout between a linear module and GELU or a gated unit is not supported: apply it after these",
  );
}

/** The largest number of sequences, at all ranks, of several activations. */
function largest(parts: readonly Activation[]): number {
  return Math.max(...parts.map(({ value }) => value.shape[0]!));
}

/** An activation in heads, repeated to a number of sequences. */
function inHeads({ value }: Activation, sequences: number): tf.Tensor4D {
  return repeated(value as tf.Tensor4D, sequences);
}

/**
 * Splits the tokens of each sequence: `[sequences, tokens, width]`, heads as
 * they are; with the axis of the tokens.
 */
export function byToken(
  { value, tokens }: Activation,
): [tf.Tensor, axis: number] {
  if (value.rank === 4) return [value, 2];
  return [value.reshape([-1, tokens, value.shape[1]!]), 1];
}

/** The activation with one token of each sequence, whose axis is kept. */
function oneToken(x: Activation, value: tf.Tensor): Activation {
  const joined = value.rank === 4
    ? value
    : value.reshape([-1, value.shape[2]!]);
  return { ...withValue(x, joined), tokens: 1, read: undefined };
}

/**
 * The sum of the tokens of each sequence, with these weights: `[batch, tokens]`
 */
function weighted(x: Activation, weights: tf.Tensor): Activation {
  const [all, axis] = byToken(x);
  const [sequences] = all.shape as [number];
  const shape = all.shape.map((_, i) => i === axis ? x.tokens : 1)
    .with(0, sequences);
  const ofAll = repeated(weights, sequences).reshape(shape);
  return oneToken(x, all.mul(ofAll).sum(axis, true));
}

/** Repeats rows shared by all ranks. */
export function repeated<T extends tf.Tensor>(x: T, rows: number): T {
  const [shared] = x.shape as [number];
  if (shared === rows) return x;
  return x.tile([rows / shared, ...x.shape.slice(1).map(() => 1)]);
}
