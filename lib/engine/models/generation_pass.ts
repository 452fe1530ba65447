import * as tf from "@tensorflow/tfjs-core";
import { MASKED, tokenRange } from "../ops/attention.ts";
import { engineOps } from "../ops/engine_ops.ts";
import { rotary, rotaryAngles } from "../ops/positions.ts";
import { fused, waitFor } from "../trace.ts";
import type { AttentionOptions, Index } from "./model.ts";
import { type Activation, rankCount } from "./pass_weights.ts";
import { repeated, TensorPass, type TensorPassOptions } from "./tensor_pass.ts";

/**
 * Keys and values of a layer, `[sequences, shared heads, tokens, depth]` each.
 */
export type LayerCache = Readonly<Record<"key" | "value", tf.Tensor4D>>;

/** Computes prompts, at all ranks, and keeps their keys and values. */
export class PromptPass extends TensorPass {
  /** Of each layer in turn. */
  readonly layers: LayerCache[] = [];

  override attention(
    query: Activation,
    key: Activation,
    value: Activation,
    options: AttentionOptions<Activation>,
  ): Activation {
    const { input: { ids }, ranks } = this.options;
    const ofAll = ({ value }: Activation) =>
      repeated(value as tf.Tensor4D, ids.shape[0] * rankCount(ranks));
    this.layers.push({ key: ofAll(key), value: ofAll(value) });
    return super.attention(query, key, value, options);
  }
}

/** What a step of generation is given of the tokens before. */
export interface StepTokens {
  /** Last token of each sequence, int32 `[ranks * prompts * beams, 1]`. */
  readonly ids: tf.Tensor2D;
  /** Number of tokens that were generated before it, a float `[1]`. */
  readonly at: tf.Tensor1D;
  /**
   * 1 for tokens of the prompts and 0 for padding, which comes first:
   * `[prompts, tokens]`.
   */
  readonly mask: tf.Tensor2D;
  /** Keys and values of the prompts, at all ranks. */
  readonly prompt: readonly LayerCache[];
  /**
   * Those of the generated tokens of all sequences, with a slot for each that
   * may follow.
   */
  readonly generated: readonly LayerCache[];
  /**
   * The sequence that each continues, int32 `[sequences]`; undefined if itself.
   */
  readonly parents: tf.Tensor1D | undefined;
}

/**
 * Computes the next token of each sequence. Beams of a prompt share its keys
 * and values. The position of a token is its column, padding included: rotary
 * positions and windows depend on distances alone.
 */
export class StepPass extends TensorPass {
  /** Keys and values of the generated tokens, this one among them. */
  readonly layers: LayerCache[] = [];
  readonly #beams: number;
  /** Columns of prompts, and slots of generated tokens. */
  readonly #sizes: readonly [columns: number, slots: number];
  /** Column of the token, `[1]`. */
  readonly #column: tf.Tensor1D;
  /** 1 for the token's slot among the generated ones, `[1, 1, slots, 1]`. */
  readonly #isNow: tf.Tensor;
  /** 1 for tokens and 0 for padding, `[sequences, columns]`. */
  readonly #mask: tf.Tensor2D;
  /** Added to the scores, by window: `[sequences, 1, 1, columns]`. */
  readonly #added = new Map<number, tf.Tensor>();

  constructor(
    options: Omit<TensorPassOptions, "input">,
    private readonly step: StepTokens,
  ) {
    const { ids, at, mask } = step;
    const [sequences] = ids.shape;
    const [prompts, columns] = mask.shape;
    const slots = step.generated[0]!.key.shape[2];
    const ranks = rankCount(options.ranks);
    const beams = sequences / ranks / prompts;
    const ofPrompts: tf.Tensor2D = mask.reshape([1, prompts, 1, columns])
      .tile([ranks, 1, beams, 1]).reshape([sequences, columns]);
    const before = ofPrompts.sum(1, true).add(at);
    super({
      ...options,
      input: {
        ids,
        positions: before.cast("int32"),
        types: tf.zerosLike(ids),
        mask: undefined,
      },
    });
    this.#beams = beams;
    this.#sizes = [columns, slots];
    this.#column = at.add(columns);
    const isNow = tokenRange(slots).equal(at).cast("float32");
    this.#isNow = isNow.reshape([1, 1, slots, 1]);
    this.#mask = ofPrompts.pad([[0, 0], [0, slots]], 1);
  }

  override embed(name: string, index: Index): Activation {
    const x = super.embed(name, index);
    return { ...x, sequences: x.sequences / rankCount(this.options.ranks) };
  }

  override rotary(x: Activation, frequencies: Float32Array): Activation {
    const [columns, slots] = this.#sizes;
    const angles = rotaryAngles(columns + slots, frequencies);
    const value = rotary(x.value as tf.Tensor4D, angles, this.#column);
    return { ...x, value };
  }

  override attention(
    query: Activation,
    key: Activation,
    value: Activation,
    { scale, window = Infinity }: AttentionOptions<Activation>,
  ): Activation {
    const layer = this.layers.length;
    const prompt = this.step.prompt[layer]!;
    const before = this.step.generated[layer]!;
    const isNow = this.#isNow;
    // A layer's cache is copied once the layer is reached, or the copies of all
    // would be in memory at once.
    const parents = this.step.parents &&
      waitFor(this.step.parents, query.value);
    const follow = (cache: tf.Tensor) =>
      parents === undefined ? cache : engineOps().gather(cache, parents);
    const generated = {
      key: written({ cache: follow(before.key), now: key.value, isNow }).value,
      value:
        written({ cache: follow(before.value), now: value.value, isNow }).value,
    } as LayerCache;
    this.layers.push(generated);
    const [sequences, shared, , depth] = generated.key.shape;
    const rows: tf.Tensor = query.value
      .reshape([sequences, shared, -1, depth]);
    const products = tf.concat([
      this.#byBeam(this.#byPrompt(rows).matMul(prompt.key, false, true)),
      rows.matMul(generated.key, false, true),
    ], 3);
    const { p } = softmax({
      products,
      scale: tf.scalar(scale ?? 1 / Math.sqrt(depth)),
      added: this.#addedIn(window),
    });
    const [ofPrompt, ofGenerated] = p.split([...this.#sizes], 3);
    const context = this
      .#byBeam(this.#byPrompt(ofPrompt!).matMul(prompt.value))
      .add(ofGenerated!.matMul(generated.value));
    return { ...query, value: context.reshape([sequences, -1]) };
  }

  /** The rows of all beams of a prompt as those of one sequence. */
  #byPrompt(x: tf.Tensor): tf.Tensor {
    if (this.#beams === 1) return x;
    const [sequences, shared, rows, width] = x.shape as number[];
    const prompts = sequences! / this.#beams;
    return x.reshape([prompts, this.#beams, shared!, rows!, width!])
      .transpose([0, 2, 1, 3, 4]).reshape([prompts, shared!, -1, width!]);
  }

  /** Inverse of {@linkcode #byPrompt}. */
  #byBeam(x: tf.Tensor): tf.Tensor {
    if (this.#beams === 1) return x;
    const [prompts, shared, rows, width] = x.shape as number[];
    const beams = this.#beams;
    return x.reshape([prompts!, shared!, beams, rows! / beams, width!])
      .transpose([0, 2, 1, 3, 4])
      .reshape([prompts! * beams, shared!, -1, width!]);
  }

  /** Masks padding, slots without a token yet, and tokens out of a window. */
  #addedIn(window: number): tf.Tensor {
    return this.#added.getOrInsertComputed(window, () => {
      const [sequences, columns] = this.#mask.shape;
      const distance = this.#column.sub(tokenRange(columns));
      const isBefore = distance.greaterEqual(0);
      const isNear = window === Infinity
        ? isBefore
        : isBefore.logicalAnd(distance.lessEqual(window));
      const isSeen = this.#mask.mul(isNear.cast("float32"));
      return tf.sub(1, isSeen).mul(MASKED)
        .reshape([sequences, 1, 1, columns]);
    });
  }
}

/** A cache with the values of one slot replaced. */
const written = fused(
  ({ cache, now, isNow }: Record<"cache" | "now" | "isNow", tf.Tensor>) => ({
    value: cache.mul(tf.sub(1, isNow)).add(now.mul(isNow)),
  }),
  { bfloat16: ["value"] },
);

const softmax = fused(
  ({ products, scale, added }: Record<
    "products" | "scale" | "added",
    tf.Tensor
  >) => ({ p: products.mul(scale).add(added).softmax() }),
  { bfloat16: ["p"] },
);
