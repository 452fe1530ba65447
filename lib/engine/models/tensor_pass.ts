import * as tf from "@tensorflow/tfjs-core";
import {
  attention,
  causalMask,
  groupedAttention,
  joinHeads,
  MASKED,
  splitHeads,
  tokenRange,
  windowedAttention,
} from "../ops/attention.ts";
import { dropout, type DropoutSource } from "../ops/dropout.ts";
import { lookUp, lookUpTrained } from "../ops/embedding.ts";
import { activation } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import {
  disentangle,
  ofDistances,
  positionBias,
  rotary,
} from "../ops/positions.ts";
import {
  type AttentionOptions,
  type EachOf,
  headsByName,
  type HeadsOptions,
  type Index,
  type NormOptions,
  type Pass,
  productsOf,
  type RelativePositions,
} from "./model.ts";
import {
  type Activation,
  LinearOutput,
  type PassTensors,
  PassWeights,
  type Unfinished,
  unfinished,
} from "./pass_weights.ts";

/** A padded batch as tensors, all `[batch, seq]`. */
export interface BatchTensors extends Readonly<Record<Index, tf.Tensor2D>> {
  /** 1 for tokens and 0 for padding, float32; undefined where nothing is padded */
  readonly mask: tf.Tensor2D | undefined;
}

/** Options of a forward pass. */
interface PassOptions extends PassTensors {
  readonly input: BatchTensors;
  /** Keys of dropout masks; undefined switches dropout off. */
  readonly keys?: DropoutSource["keys"] | undefined;
  /** Called with all hidden states of the embeddings and every layer, `[sequences * tokens, hidden]`. */
  readonly observe?: ((hidden: tf.Tensor2D) => void) | undefined;
}

/** The activation with another value. */
function replaced(
  { sequences, tokens, at }: Activation,
  value: tf.Tensor,
  hasGradient: boolean,
): Activation {
  return { value, sequences, tokens, at, hasGradient };
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
  readonly #causalMasks = new Map<string, tf.Tensor4D>();

  constructor(options: PassOptions) {
    this.#options = options;
    [this.#batch, this.#seq] = options.input.ids.shape;
    this.#weights = new PassWeights(options);
  }

  get tokens(): number {
    return this.#seq;
  }

  embed(name: string, index: Index): Activation {
    const { value, hasGradient } = this.#weights.table(name);
    const ids = this.#options.input[index];
    return {
      value: hasGradient ? lookUpTrained(value, ids) : lookUp(value, ids),
      sequences: this.#batch,
      tokens: this.#seq,
      hasGradient,
    };
  }

  rows(name: string, rows: readonly number[]): Activation {
    const { value, hasGradient } = this.#weights.table(name);
    const ids = tf.tensor2d(rows as number[], [1, rows.length], "int32");
    return {
      value: lookUpTrained(value, ids),
      sequences: 1,
      tokens: rows.length,
      hasGradient,
    };
  }

  positionBias(
    name: string,
    _buckets: number,
    _heads: number,
    bucket: (distance: number) => number,
    factor: number,
  ): Activation {
    const { value, hasGradient } = this.#weights.table(name);
    return {
      value: positionBias(value, this.#seq, bucket, factor),
      sequences: 1,
      tokens: this.#seq,
      hasGradient,
    };
  }

  linear(name: string | readonly string[], x: Activation): LinearOutput {
    return new LinearOutput(this.#weights, [name].flat(), x);
  }

  logits(name: string, x: Activation): Activation {
    return this.linear(name, x);
  }

  heads<const Names extends readonly string[]>(
    names: Names,
    x: Activation,
    heads: number | readonly number[],
    { read = x }: HeadsOptions<Activation> = {},
  ): EachOf<Names, Activation> {
    const headsOf = headsByName(names, heads);
    return productsOf(names, x, read).flatMap(([names, x]) => {
      const y = new LinearOutput(this.#weights, [...new Set(names)], x);
      return splitHeads(y.value as tf.Tensor2D, y.tokens, names.map(headsOf))
        .map((value) => replaced(y, value, y.hasGradient));
    }) as EachOf<Names, Activation>;
  }

  rotary(x: Activation, frequencies: Float32Array): Activation {
    // The first token is at position 0, where the angles are 0.
    if (x.tokens === 1 && x.at === undefined) return x;
    const at = x.at && repeated(x.at, x.value.shape[0]!);
    const heads = x.value as tf.Tensor4D;
    const value = rotary(heads, frequencies, this.#seq, at);
    return replaced(x, value, x.hasGradient);
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
    const { window, causal } = options;
    const bias = options.bias && query.tokens === 1
      ? this.first(options.bias)
      : options.bias;
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
    const context = causal
      ? groupedAttention(q, k, v, {
        ...common,
        mask: this.#causalMask(query, window, sequences),
      })
      : window !== undefined && this.#seq > window + 1
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

  norm(
    name: string,
    terms: readonly Activation[],
    { form, dropout: rate }: NormOptions = {},
  ): Activation {
    const [x, ...others] = terms as [Activation, ...Activation[]];
    const norm = this.#weights.norm(name, form);
    const isTrained = this.#weights.isTrained(`${name}.weight`);
    const hasGradient = isTrained || terms.some((it) => it.hasGradient);
    // A dropout of its own follows embeddings; otherwise, one of the sub-layer precedes its residual.
    const last = rate === undefined ? others.pop() : undefined;
    const { product, bias, source }: Unfinished = last === undefined
      ? { product: x.value as tf.Tensor2D, source: this.#dropout(rate) }
      : unfinished(x);
    const sum = others.reduce((sum, { value }) => tf.add(sum, value), product);
    const rows = Math.max(sum.shape[0], last?.value.shape[0] ?? 0);
    const y = layerNorm(
      {
        x: repeated(sum, rows),
        bias,
        residual: last && repeated(last.value as tf.Tensor2D, rows),
      },
      norm,
      {
        source,
        isTrained,
        ofProducts: last === undefined && rate === undefined,
      },
    );
    return replaced(x, y, hasGradient);
  }

  add(x: Activation, residual: Activation): Activation {
    const [y, other] = [x.value, residual.value];
    const rows = Math.max(y.shape[0]!, other.shape[0]!);
    return replaced(
      x,
      tf.add(repeated(y, rows), repeated(other, rows)),
      x.hasGradient || residual.hasGradient,
    );
  }

  gelu(x: Activation, form?: "gelu" | "gelu_new"): Activation {
    const { product, bias } = unfinished(x);
    return replaced(x, activation(product, bias, form), x.hasGradient);
  }

  glu(x: Activation, form: "gelu" | "silu"): Activation {
    const { product, bias } = unfinished(x);
    const y = activation(product, bias, form, "gated");
    return replaced(x, y, x.hasGradient);
  }

  relu(x: Activation): Activation {
    return replaced(x, tf.relu(x.value), x.hasGradient);
  }

  tanh(x: Activation): Activation {
    return replaced(x, tf.tanh(x.value), x.hasGradient);
  }

  dropout(x: Activation, rate: number): Activation {
    const source = this.#dropout(rate);
    if (x instanceof LinearOutput) return x.dropped(source);
    return replaced(x, dropout(x.value, source), x.hasGradient);
  }

  first(x: Activation): Activation {
    if (x.tokens === 1) return x;
    if (x.value.rank === 4) {
      const value = tf.slice(x.value, [0, 0, 0, 0], [-1, -1, 1, -1]);
      return { ...replaced(x, value, x.hasGradient), tokens: 1 };
    }
    const width = x.value.shape[1]!;
    const value = tf.reshape(
      tf.slice(this.#bySequence(x), [0, 0, 0], [-1, 1, width]),
      [-1, width],
    );
    return { ...replaced(x, value, x.hasGradient), tokens: 1 };
  }

  last(x: Activation, padToken: number | undefined): Activation {
    if (x.tokens === 1) return x;
    const { ids, mask } = this.#options.input;
    const range = tokenRange(x.tokens);
    const isToken = padToken === undefined
      ? mask ?? tf.onesLike(ids)
      : tf.notEqual(ids, padToken);
    const at: tf.Tensor1D = tf.max(
      tf.mul(tf.cast(isToken, "float32"), range),
      1,
    );
    const isLast = tf.cast(tf.equal(range, tf.expandDims(at, 1)), "float32");
    const all = x.value.rank === 4 ? x.value : this.#bySequence(x);
    const isHeads = all.rank === 4;
    const [sequences] = all.shape as [number];
    const kept = tf.reshape(
      repeated(isLast, sequences),
      isHeads ? [sequences, 1, -1, 1] : [sequences, -1, 1],
    );
    const value = tf.sum(tf.mul(all, kept), isHeads ? 2 : 1, isHeads);
    return { ...replaced(x, value, x.hasGradient), tokens: 1, at };
  }

  mean(x: Activation): Activation {
    const all = this.#bySequence(x);
    const { mask } = this.#options.input;
    const weightsOf = (mask: tf.Tensor2D) =>
      repeated(tf.div(mask, tf.sum(mask, 1, true)), all.shape[0]);
    const value = mask === undefined
      ? tf.mean(all, 1)
      : tf.sum(tf.mul(all, tf.expandDims(weightsOf(mask), 2)), 1);
    return { ...replaced(x, value, x.hasGradient), tokens: 1 };
  }

  /** `[sequences * tokens, width]` -> `[sequences, tokens, width]` */
  #bySequence(x: Activation): tf.Tensor3D {
    return tf.reshape(x.value, [-1, x.tokens, x.value.shape[1]!]);
  }

  read(
    x: Activation,
    take = (x: Activation) => this.first(x),
  ): Activation {
    if (this.#options.observe === undefined) return take(x);
    return replaced(x, x.value, x.hasGradient);
  }

  observe(x: Activation): void {
    this.#options.observe?.(x.value as tf.Tensor2D);
  }

  #dropout(rate: number | undefined): DropoutSource | undefined {
    const { keys } = this.#options;
    return keys && rate !== undefined ? { rate, keys } : undefined;
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

  /** The mask of a causal attention, that of padding added. */
  #causalMask(
    { at, tokens }: Activation,
    window: number | undefined,
    sequences: number,
  ): tf.Tensor4D {
    const key = `${tokens}.${window}.${sequences}`;
    const known = this.#causalMasks.get(key);
    if (known !== undefined) return known;
    const places: tf.Tensor4D = at === undefined
      ? tf.reshape(tokenRange(tokens), [1, 1, tokens, 1])
      : tf.reshape(at, [this.#batch, 1, 1, 1]);
    const causal = causalMask(places, this.#seq, window);
    const padding = this.#mask(sequences);
    const mask = padding === undefined
      ? ofSequences(causal, sequences)
      : tf.add(ofSequences(causal, sequences), padding) as tf.Tensor4D;
    this.#causalMasks.set(key, mask);
    return mask;
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
