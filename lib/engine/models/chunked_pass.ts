import * as tf from "@tensorflow/tfjs-core";
import {
  type ActivationName,
  type AttentionOptions,
  type Index,
  narrowed,
  type Narrowing,
  type NormOptions,
  type Pass,
  type PositionBiasOptions,
  type Read,
  type RelativePositions,
  type SplitModule,
  WithHeads,
} from "./model.ts";
import { rangeOf } from "../ops/attention.ts";
import { evenSizes } from "../ops/blocks.ts";
import type { Activation } from "./pass_weights.ts";
import { byToken, TensorPass, type TensorPassOptions } from "./tensor_pass.ts";

/**
 * An activation in chunks of tokens; in one, as a whole, where it is no more
 * than a token of each sequence.
 */
class Chunked implements Narrowing<Chunked> {
  constructor(
    readonly chunks: readonly Activation[],
    readonly read?: Read<Chunked> | undefined,
  ) {}
}

/**
 * A forward pass over chunks of each sequence's tokens, which threads compute
 * side by side where there are fewer sequences than threads. An operation on
 * each token by itself is computed of each chunk; one that looks at several
 * tokens, attention above all, of the joined chunks.
 */
export class ChunkedPass extends WithHeads<Chunked> implements Pass<Chunked> {
  readonly tokens: number;
  /** Tokens of each chunk. */
  readonly #sizes: readonly number[];
  /** The pass of each chunk. */
  readonly #passes: readonly TensorPass[];
  readonly #whole: TensorPass;

  /**
   * @param options Those of a pass over whole sequences
   * @param count Chunks of each sequence
   * @param keys Keys of the dropout masks, int32 `[count * dropouts, 2]`; those
   * of the first chunk serve what is joined as well
   */
  constructor(
    options: Omit<TensorPassOptions, "keys">,
    count: number,
    keys: tf.Tensor2D | undefined,
  ) {
    super();
    const { ids, positions, types, mask } = options.input;
    this.tokens = ids.shape[1];
    this.#sizes = evenSizes(this.tokens, count);
    const keysOf = (keys?.split(count) ?? []).map((it) =>
      it.unstack().values()
    );
    this.#whole = new TensorPass({
      ...options,
      keys: keysOf[0],
      minBlocks: count,
    });
    if (count === 1) {
      this.#passes = [this.#whole];
      return;
    }
    let start = 0;
    this.#passes = this.#sizes.map((size, i) => {
      const cut = (x: tf.Tensor2D) => rangeOf(x, 1, start, size);
      const pass = new TensorPass({
        ...options,
        input: {
          ids: cut(ids),
          positions: cut(positions),
          types: cut(types),
          mask: mask && cut(mask),
        },
        start,
        keys: keysOf[i],
      });
      start += size;
      return pass;
    });
  }

  // Of each chunk by itself.

  embed(name: string, index: Index): Chunked {
    return new Chunked(this.#passes.map((pass) => pass.embed(name, index)));
  }

  linear(name: string | readonly string[], x: Chunked): Chunked {
    return this.#byChunk(x, (pass, chunk) => pass.linear(name, chunk));
  }

  split(x: Chunked, modules: readonly SplitModule[]): Chunked[] {
    const byChunk = x.chunks.map((chunk, i) =>
      this.#passOf(x, i).split(chunk, modules)
    );
    return byChunk[0]!.map((_, output) =>
      new Chunked(byChunk.map((outputs) => outputs[output]!), x.read)
    );
  }

  rotary(x: Chunked, frequencies: Float32Array): Chunked {
    return this.#byChunk(x, (pass, chunk) => pass.rotary(chunk, frequencies));
  }

  norm(name: string, terms: readonly Chunked[], options: NormOptions): Chunked {
    const all = narrowed(terms);
    return this.#byChunk(
      all[0]!,
      (pass, _, i) => pass.norm(name, all.map((it) => it.chunks[i]!), options),
    );
  }

  add(x: Chunked, residual: Chunked): Chunked {
    const [y, other] = narrowed([x, residual]) as [Chunked, Chunked];
    return this.#byChunk(
      y,
      (pass, chunk, i) => pass.add(chunk, other.chunks[i]!),
    );
  }

  activate(x: Chunked, by: ActivationName): Chunked {
    return this.#byChunk(x, (pass, chunk) => pass.activate(chunk, by));
  }

  glu(x: Chunked, form: "gelu" | "silu"): Chunked {
    return this.#byChunk(x, (pass, chunk) => pass.glu(chunk, form));
  }

  dropout(x: Chunked, rate: number): Chunked {
    return this.#byChunk(x, (pass, chunk) => pass.dropout(chunk, rate));
  }

  first({ chunks }: Chunked): Chunked {
    return new Chunked([this.#whole.first(chunks[0]!)]);
  }

  narrow({ chunks }: Chunked, read: Read<Chunked>): Chunked {
    return new Chunked(chunks, read);
  }

  // Of whole sequences.

  attention(
    query: Chunked,
    key: Chunked,
    value: Chunked,
    { bias, ...options }: AttentionOptions<Chunked>,
  ): Chunked {
    const context = this.#whole.attention(
      joined(query),
      joined(key),
      joined(value),
      bias === undefined ? options : { ...options, bias: joined(bias) },
    );
    // The gradient of tf.split fails for a single chunk.
    if (query.chunks.length === 1) return new Chunked([context]);
    const [all, axis] = byToken(context);
    const chunks = all.split([...this.#sizes], axis).map((value, i) => ({
      ...context,
      value: value.reshape([-1, value.shape[2]!]),
      tokens: this.#sizes[i]!,
    }));
    return new Chunked(chunks);
  }

  disentangle(
    query: Chunked,
    key: Chunked,
    positions: RelativePositions<Chunked>,
  ): Chunked {
    const bias = this.#whole.disentangle(joined(query), joined(key), {
      query: positions.query && joined(positions.query),
      key: positions.key && joined(positions.key),
      rows: positions.rows,
    });
    return new Chunked([bias]);
  }

  positionBias(name: string, options: PositionBiasOptions): Chunked {
    return new Chunked([this.#whole.positionBias(name, options)]);
  }

  rows(name: string, rows: readonly number[]): Chunked {
    return new Chunked([this.#whole.rows(name, rows)]);
  }

  logits(name: string, x: Chunked): Chunked {
    return new Chunked([this.#whole.logits(name, joined(x))]);
  }

  vocabulary(name: string, x: Chunked): Chunked {
    return new Chunked([this.#whole.vocabulary(name, joined(x))]);
  }

  last(x: Chunked, padToken: number | undefined): Chunked {
    return new Chunked([this.#whole.last(joined(x), padToken)]);
  }

  mean(x: Chunked): Chunked {
    return new Chunked([this.#whole.mean(joined(x))]);
  }

  /** The pass that computes chunk i. */
  #passOf({ chunks }: Chunked, i: number): TensorPass {
    return chunks.length === 1 ? this.#whole : this.#passes[i]!;
  }

  /** An operation on each chunk of an activation. */
  #byChunk(
    x: Chunked,
    compute: (pass: TensorPass, chunk: Activation, i: number) => Activation,
  ): Chunked {
    const chunks = x.chunks.map((chunk, i) =>
      compute(this.#passOf(x, i), chunk, i)
    );
    return new Chunked(chunks, x.read);
  }
}

/** An activation as a whole. */
function joined({ chunks }: Chunked): Activation {
  const [first] = chunks as [Activation];
  if (chunks.length === 1) return first;
  const axis = byToken(first)[1];
  const all = tf.concat(chunks.map((chunk) => byToken(chunk)[0]), axis);
  return {
    value: all.rank === 4 ? all : all.reshape([-1, all.shape[2]!]),
    sequences: first.sequences,
    tokens: chunks.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}
