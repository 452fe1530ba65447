/**
 * The description of a model by its architecture's file, and the operations
 * that it is written in. Nothing here computes.
 */
import type { TokenizerDefaults } from "../../text/tokenizer_files.ts";
import type {
  AdaptedModule,
  AdapterKind,
  ModuleParameter,
} from "../adapters/adapter.ts";

/**
 * A tensor that a model declares by its use. Its initial values count where it
 * is trained.
 */
export interface DeclaredTensor {
  /** As transformers has it. */
  readonly name: string;
  readonly shape: readonly number[];
  /**
   * Initial values: normally distributed, zeros, ones, or those of the
   * pretrained model.
   */
  readonly start: "normal" | "zeros" | "ones" | "pretrained";
  /**
   * Initial values of a pretrained tensor that the model's file lacks; by
   * default, it must have the tensor.
   */
  readonly fallback?: "normal" | "zeros" | "ones";
  /**
   * Standard deviation of normally distributed initial values, 0.02 by default
   * as in transformers.
   */
  readonly deviation?: number;
}

/**
 * One architecture of transformers, an encoder or a decoder without its
 * language head.
 */
export interface Architecture {
  /** `model_type` of its `config.json`. */
  readonly type: string;
  /**
   * Name of its classes in transformers: `Bert` of
   * `BertForSequenceClassification`.
   */
  readonly className: string;
  /** Prefix of the encoder's tensors in that class. */
  readonly prefix: string;
  /** Names of modules that adapters wrap by default, as in PEFT. */
  readonly targetModules: readonly string[];
  /** Defaults of its tokenizer, and overrides by its class in transformers. */
  readonly tokenizer:
    & Omit<TokenizerDefaults, "classes">
    & Partial<Pick<TokenizerDefaults, "classes">>;
  /**
   * Describes the model of a parsed `config.json`.
   *
   * @throws {z.ZodError} If the configuration is invalid or not supported.
   */
  configure(config: unknown): Description;
}

/** What a model computes of its hidden states. */
export interface Head {
  /**
   * True if its tensors are those of the pretrained model and frozen, as the
   * encoder's are; otherwise they are trained.
   */
  readonly isFrozen?: true;
  /**
   * Takes the tokens of each sequence that it reads, all by default: of the
   * last layer, no others are computed.
   */
  read?<T>(m: Pass<T>, x: T): T;
  /**
   * Logits: `[sequences, outputs]`, or per token
   * `[sequences * tokens, outputs]`.
   */
  logits<T>(m: Pass<T>, x: T, outputs: number): T;
}

/** Takes what a head reads of hidden states. */
export type Read<T> = (x: T) => T;

/** A model as its architecture describes it. */
export interface Description {
  readonly layers: number;
  readonly hidden: number;
  readonly vocabSize: number;
  readonly padId: number;
  /** Number of positions that it knows. */
  readonly positions: number;
  /**
   * True if positions are counted from `padId + 1` and padding has `padId`, as
   * in fairseq; otherwise they are counted from 0.
   */
  readonly countsFromPadding?: boolean;
  /**
   * The hidden states after all layers.
   *
   * @param read What the head reads of them: of the last layer, nothing else is
   * computed
   */
  encoder<T>(m: Pass<T>, read?: Read<T>): T;
  readonly heads: {
    /** One prediction for a sequence. */
    readonly sequence: Head;
    /** One for each token. */
    readonly tokens: Head;
    /** What follows each token; decoders have it. */
    readonly language?: Head;
    /**
     * An embedding of a sequence; {@linkcode withPooling} adds it, since it is
     * up to the files of a sentence encoder.
     */
    readonly embedding?: Head;
  };
}

/**
 * What a head predicts: something of a sequence or of each of its tokens, the
 * next token, or an embedding of a sequence.
 */
export type HeadName = keyof Description["heads"];

/**
 * Everything that the engine needs to know about a model; the weights are
 * elsewhere.
 */
export interface Model extends Description {
  readonly architecture: Architecture;
  /** Which of its heads is used. */
  readonly head: HeadName;
  /**
   * Longest sequence that has positions, in tokens, special tokens included.
   */
  readonly maxLength: number;
  /**
   * All tensors of the encoder, and of a head that is frozen: shapes by name,
   * in the order of their first use.
   */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
}

/**
 * Computes the logits: `[sequences, outputs]`, or with a head for tokens
 * `[sequences * tokens, outputs]`.
 */
export function forward<T>(
  { encoder, heads, ...model }: Model,
  m: Pass<T>,
  outputs: number,
): T {
  const head = heads[model.head]!;
  const read: Read<T> | undefined = head.read && ((x) => head.read!(m, x));
  const hidden = encoder(m, read);
  m.observe?.(hidden);
  return head.logits(m, read?.(hidden) ?? hidden, outputs);
}

/**
 * Runs the layers; of the last one, only what the head reads is computed.
 *
 * @param x Hidden states of the embeddings
 * @param layer Gives the hidden states after layer i
 */
export function inLayers<T>(
  m: Pass<T>,
  count: number,
  x: T,
  layer: (i: number, x: T) => T,
  read?: Read<T>,
): T {
  const readStates = new Map<T, T>();
  // The query and the residual both read the last layer's input.
  const readOnce = (x: T) => readStates.getOrInsertComputed(x, read!);
  for (let i = 0; i < count; i++) {
    m.observe?.(x);
    x = layer(i, read && i === count - 1 ? m.narrow(x, readOnce) : x);
  }
  return x;
}

/** What positions and padding depend on. */
export type PositionedModel = Pick<
  Model,
  "padId" | "maxLength" | "countsFromPadding"
>;

/**
 * Rows of the position table. Beyond the table there is only padding, which is
 * masked, so its last row is used.
 *
 * @param ids Padded token ids, `[batch, seq]`
 * @returns `[batch, seq]`
 */
export function positionsOf(
  { padId, maxLength, countsFromPadding }: PositionedModel,
  ids: Int32Array,
  seq: number,
): Int32Array<ArrayBuffer> {
  const first = countsFromPadding ? padId + 1 : 0;
  const positions = new Int32Array(ids.length);
  let count = 0;
  for (const [i, id] of ids.entries()) {
    if (i % seq === 0) count = 0;
    if (countsFromPadding && id === padId) {
      positions[i] = padId;
    } else {
      positions[i] = first + Math.min(count, maxLength - 1);
      count++;
    }
  }
  return positions;
}

/**
 * Everything trained of a model as one flat vector: the adapters, module by
 * module, or the encoder's own weights, or neither; then the head.
 */
export interface ParameterLayout {
  /** Rank of the adapters; 0 without adapters. */
  readonly rank: number;
  /** Number of outputs of the head. */
  readonly outputs: number;
  readonly kind: AdapterKind;
  /** Rate of the dropout of the adapters' inputs, in training. */
  readonly loraDropout: number;
  /** The modules that carry adapters, in the order of computation. */
  readonly modules: readonly AdaptedModule[];
  /** The tensors of the vector by name, in their order. */
  readonly entries: ReadonlyMap<string, Parameter>;
  /** Total number of values. */
  readonly size: number;
}

/** A trained tensor, and where it is in the flat vector. */
export interface Parameter extends Omit<DeclaredTensor, "start"> {
  /** In the vector. */
  readonly shape: readonly number[];
  readonly offset: number;
  readonly start: DeclaredTensor["start"] | ModuleParameter["start"];
  /** Of an adapter, which of the layout's modules it belongs to. */
  readonly module?: number;
  /**
   * True if the vector has the transpose of what is stored, so that a rank is a
   * row.
   */
  readonly isTransposed?: boolean;
}

export interface LinearOptions {
  /** Outputs of each, as many as inputs by default. */
  readonly width?: number;
  /** False if they have no bias. */
  readonly bias?: boolean;
}

/** The last layer of a head. */
export interface LogitsOptions extends Pick<LinearOptions, "bias"> {
  /**
   * Standard deviation of its initial values, 0.02 by default as in
   * transformers.
   */
  readonly deviation?: number;
}

/** Biases of attention by the distance of two tokens. */
export interface PositionBiasOptions {
  /** Rows of the table. */
  readonly buckets: number;
  readonly heads: number;
  /** Row of a distance, key minus query. */
  bucket(distance: number): number;
  /** Multiplies all biases. */
  readonly factor: number;
}

export interface NormOptions {
  /** Added to the variance. */
  readonly epsilon: number;
  /**
   * `rms` divides by the root mean square (arXiv 1910.07467) and has a scale
   * alone; otherwise it is a layer normalization.
   */
  readonly form?: "rms";
  /** False if it has a scale alone. */
  readonly bias?: boolean;
  /** Rate of a dropout after it, as embeddings have. */
  readonly dropout?: number;
  /**
   * Values normalized at a time, where they are not all of a token's: the depth
   * of heads.
   */
  readonly width?: number | undefined;
}

/** Rows and columns of a table of embeddings. */
export type TableShape = readonly [rows: number, width: number];

/** Input of a batch that embeddings are looked up by. */
export type Index = "ids" | "types" | "positions";

/** How several linear modules are split into heads. */
export interface HeadsOptions extends Pick<LinearOptions, "bias"> {
  /**
   * Width of a head; by default, the heads of a module are together as wide as
   * the input.
   */
  readonly depth?: number;
}

/** An activation as a pass narrows it. */
export interface Narrowing<T> {
  /**
   * Of the last layer's input, which has all tokens for the keys: takes what
   * the head reads.
   */
  readonly read?: Read<T> | undefined;
}

/**
 * Terms of a sum, narrowed to what the head reads; as they are if none has been
 * narrowed yet.
 */
export function narrowed<T extends Narrowing<T>>(
  terms: readonly T[],
): readonly T[] {
  if (terms.every(({ read }) => read)) return terms;
  return terms.map((x) => x.read?.(x) ?? x);
}

/** Splits linear modules into heads, in all passes by one product. */
export abstract class WithHeads<T> {
  /**
   * Several linear modules on the same input as one product, split into heads:
   * `[batch * seq, in]` -> `[batch, heads, seq, depth]` of each name, the query
   * first. A module that is named several times has that many outputs. Of the
   * last layer's input, the query is narrowed, and unless its module has the
   * keys as well, it is a product of its own.
   *
   * @param heads Heads of each module, or of all; where keys and values have
   * fewer than the query (arXiv 2305.13245), neighbours share one
   */
  heads<const Names extends readonly string[]>(
    names: Names,
    x: T,
    heads: number | readonly number[],
    options: HeadsOptions = {},
  ): { [I in keyof Names]: T } {
    const { read } = x as Narrowing<T>;
    const headsAt = (i: number) =>
      typeof heads === "number" ? heads : heads[i]!;
    const modules = [...Map.groupBy(names.keys(), (i) => names[i]!)]
      .map(([name, outputs]) => ({ name, heads: outputs.map(headsAt) }));
    const isApart = read !== undefined && modules[0]!.heads.length === 1;
    const [query, ...others] = isApart
      ? [
        ...this.split(read(x), modules.slice(0, 1), options),
        ...this.split(x, modules.slice(1), options),
      ]
      : this.split(x, modules, options);
    const narrowQuery = read === undefined ? query : read(query!);
    return [narrowQuery, ...others] as { [I in keyof Names]: T };
  }

  /** The heads of the product of some modules, one after the other. */
  abstract split(
    x: T,
    modules: readonly SplitModule[],
    options: HeadsOptions,
  ): readonly T[];
}

/** A linear module that is split into heads. */
export interface SplitModule {
  readonly name: string;
  /** Number of heads of each of its outputs. */
  readonly heads: readonly number[];
}

/** How attention differs from `softmax(q k^T / sqrt(d)) v`. */
export interface AttentionOptions<T> {
  /** Rate of the dropout of the probabilities. */
  readonly dropout: number;
  /** Factor of the scores, `1 / sqrt(d)` by default. */
  readonly scale?: number;
  /**
   * Added to the products of queries and keys before the scale:
   * `[1 or sequences, heads, queries, keys]`, or of all tokens where the
   * queries read less
   */
  readonly bias?: T;
  /** Tokens on either side that a token attends to; all of them by default. */
  readonly window?: number | undefined;
  /** True if a token attends to itself and those before it alone. */
  readonly causal?: boolean;
}

export type ActivationName = "gelu" | "gelu_new" | "relu" | "tanh";

/**
 * Relative positions as queries and as keys, each one sequence split into
 * heads, or left out.
 */
export interface RelativePositions<T> {
  readonly query: T | undefined;
  readonly key: T | undefined;
  /**
   * Which of their rows each distance has, from `1 - tokens` to `tokens - 1`,
   * query minus key.
   */
  readonly rows: readonly number[];
}

/**
 * The operations that a model is written in. `T` stands for activations:
 * tensors where the pass is computed (`tensor_pass.ts`), shapes where its
 * tensors, products and operations are counted (`outline.ts`).
 *
 * A module is declared by its use: its name, and the sizes that do not follow
 * from its input. One name used twice is one module. Whether a linear module is
 * frozen, carries adapters at one rank or several, or is trained itself is up
 * to the pass. Activations are `[batch * seq, width]`, with one row for each
 * token, and those split into heads `[batch, heads, seq, depth]`; where a pass
 * computes several ranks, the batch holds each of them. Dropout happens in
 * training only.
 */
export interface Pass<T> extends WithHeads<T> {
  /** Tokens of each sequence, padding included. */
  readonly tokens: number;
  /**
   * Rows of a table `[rows, width]` by the tokens' ids, types or positions:
   * `[batch * seq, width]`.
   */
  embed(name: string, index: Index, table: TableShape): T;
  /**
   * The same rows of a table for all sequences, as one sequence:
   * `[rows, width]`.
   */
  rows(name: string, rows: readonly number[], table: TableShape): T;
  /**
   * A table `[buckets, heads]` of relative positions as a bias of attention,
   * `[1, heads, seq, seq]`.
   */
  positionBias(name: string, options: PositionBiasOptions): T;
  /**
   * `x W^T + b`, as wide as the input by default, and with a bias; of several
   * modules side by side: `[batch * seq, in]` ->
   * `[batch * seq, modules * width]`.
   */
  linear(
    name: string | readonly string[],
    x: T,
    options?: LinearOptions,
  ): T;
  /**
   * The last layer of a head, which starts anew: its outputs are those of the
   * task. `[batch, in]` -> `[batch, outputs]`.
   */
  logits(name: string, x: T, outputs: number, options?: LogitsOptions): T;
  /**
   * The products of hidden states with the rows of a table, one for each token
   * of a vocabulary: `[batch * seq, width]` -> `[batch * seq, vocabulary]`.
   * Where the input names the next tokens, the loss of each instead:
   * `[batch * seq, 1]`.
   */
  vocabulary(name: string, x: T, table: TableShape): T;
  /**
   * Rotary positions of heads (arXiv 2104.09864), halves of the depth paired as
   * in GPT-NeoX: `[batch, heads, seq, depth]`, as its input.
   *
   * @param frequencies Of each pair, `[depth / 2]`
   */
  rotary(x: T, frequencies: Float32Array): T;
  /**
   * The products of contents and relative positions in disentangled attention
   * (arXiv 2006.03654, equation 4): a bias of attention,
   * `[batch, heads, queries, keys]`.
   */
  disentangle(query: T, key: T, positions: RelativePositions<T>): T;
  /**
   * `softmax(q k^T / sqrt(depth)) v`, padding masked, heads joined again:
   * `[batch, heads, queries, depth]` -> `[batch * queries, heads * depth]`.
   */
  attention(query: T, key: T, value: T, options: AttentionOptions<T>): T;
  /** Normalization of a sum, over the width, or over the depth of heads. */
  norm(name: string, terms: readonly T[], options: NormOptions): T;
  add(x: T, residual: T): T;
  /**
   * A function of each value; GELU in its exact form, or approximated by tanh
   * (`gelu_new`).
   */
  activate(x: T, by: ActivationName): T;
  /**
   * `GELU(x1) * x2` or `SiLU(x1) * x2`, with `x1` and `x2` the halves of `x`
   * (arXiv 2002.05202): `[batch * seq, 2 * width]` -> `[batch * seq, width]`.
   */
  glu(x: T, form: "gelu" | "silu"): T;
  dropout(x: T, rate: number): T;
  /**
   * The first token of each sequence: `[batch, width]`, or of heads
   * `[batch, heads, 1, depth]`.
   */
  first(x: T): T;
  /**
   * The last token of each sequence whose id is not `padToken`; if that is
   * undefined, the last that is not masked. Shaped as {@linkcode first}.
   */
  last(x: T, padToken: number | undefined): T;
  /**
   * The mean of the tokens of each sequence that are not padding:
   * `[batch, width]`.
   */
  mean(x: T): T;
  /**
   * The input of the last layer, of which the head reads a part:
   * {@linkcode heads} narrows the query to that, and {@linkcode norm} and
   * {@linkcode add} what is added to its context.
   */
  narrow(x: T, read: Read<T>): T;
  /**
   * Called with the hidden states of the embeddings and after each layer, the
   * last after the final normalization.
   */
  observe?(x: T): void;
}
