/**
 * The description of a model by its architecture's file, and the operations
 * that its forward pass is written in. Nothing here computes: `tensor_pass.ts`
 * computes a forward pass, `outline.ts` counts it.
 */

/** Name and shape of a tensor, both as transformers has them in a model for sequence classification. */
export interface TensorShape {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A tensor of the classification head, which is always trained. */
export interface HeadTensor extends TensorShape {
  /** Initial values: normally distributed, zeros, ones, or those of the pretrained model. */
  readonly start: "normal" | "zeros" | "ones" | "pretrained";
  /** Initial values of a pretrained tensor that the model's file lacks; by default, it must have the tensor. */
  readonly otherwise?: "normal" | "zeros" | "ones";
  /** Standard deviation of normally distributed initial values, 0.02 by default as in transformers. */
  readonly deviation?: number;
}

/** One encoder architecture of transformers. */
export interface Architecture {
  /** `model_type` of its `config.json`. */
  readonly type: string;
  /** Transformers' class for sequence classification. */
  readonly classifierClass: string;
  /** Transformers' class of the tokenizer, unless the model names another. */
  readonly tokenizerClass: string;
  /** Prefix of the encoder's tensors in that class. */
  readonly prefix: string;
  /** Token type of the second text of a pair, if the tokenizer distinguishes the texts. */
  readonly pairType: 0 | 1;
  /** Names of modules that adapters wrap by default, as in PEFT. */
  readonly targetModules: readonly string[];
  /** The classification head, in the order of computation. */
  head(hidden: number, labels: number): readonly HeadTensor[];
  /**
   * Describes the model of a parsed `config.json`.
   *
   * @throws {z.ZodError} If the configuration is invalid or not supported.
   */
  configure(config: unknown): Model;
}

/** Everything that the engine needs to know about a model; the weights are elsewhere. */
export interface Model {
  readonly architecture: Architecture;
  readonly layers: number;
  readonly hidden: number;
  readonly vocabSize: number;
  readonly padId: number;
  /** Longest sequence that has positions, in tokens, special tokens included. */
  readonly maxLength: number;
  /** All tensors of the encoder: shapes by name, embeddings first. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  /**
   * Rows of the position table.
   *
   * @param ids Padded token ids, `[batch, seq]`
   * @returns `[batch, seq]`
   */
  positions(
    ids: Int32Array,
    batch: number,
    seq: number,
  ): Int32Array<ArrayBuffer>;
  /** Computes the logits: `[sequences, labels]`. */
  forward<T>(pass: Pass<T>): T;
}

/**
 * Everything trained of a model as one flat vector: the adapters, module by
 * module, or the encoder's own weights, or neither; then the head.
 */
export interface ParameterLayout {
  /** Rank of the adapters; 0 without adapters. */
  readonly rank: number;
  /** Outputs of the head. */
  readonly labels: number;
  /** The modules that carry adapters, in the order of computation. */
  readonly modules: readonly AdaptedModule[];
  /** The tensors of the vector by name, in their order. */
  readonly entries: ReadonlyMap<string, Parameter>;
  /** Total number of values. */
  readonly size: number;
}

/** A linear module with an adapter. */
export interface AdaptedModule {
  /** As transformers names it: `roberta.encoder.layer.0.attention.self.query` */
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** A trained tensor and its place in the flat vector. */
export interface Parameter extends Pick<HeadTensor, "otherwise" | "deviation"> {
  readonly name: string;
  /** In the vector; `lora_B` is transposed to `[rank, out]`, so that a rank is a row of both factors. */
  readonly shape: readonly number[];
  readonly offset: number;
  readonly start: HeadTensor["start"] | "uniform";
  /** Of the two factors of an adapter, which one it is, and of which of the layout's modules. */
  readonly factor?: { readonly of: "A" | "B"; readonly module: number };
}

/** A layer normalization: the name of its two tensors, and its epsilon. */
export interface Norm {
  readonly name: string;
  readonly epsilon: number;
}

/** Input of a batch that embeddings are looked up by. */
export type Index = "ids" | "types" | "positions";

/** How attention differs from that of BERT. */
export interface AttentionOptions<T> {
  /** Rate of the dropout of the probabilities. */
  readonly dropout: number;
  /** Factor of the scores, `1 / sqrt(depth)` by default. */
  readonly scale?: number;
  /** Added to the products of queries and keys before the scale: `[1 or sequences, heads, queries, keys]` */
  readonly bias?: T;
  /** Tokens on either side that a token attends to; all of them by default. */
  readonly window?: number | undefined;
}

/** Relative positions as queries and as keys, each one sequence split into heads, or left out. */
export interface RelativePositions<T> {
  readonly query: T | undefined;
  readonly key: T | undefined;
  /** Which of their rows each distance has, from `1 - tokens` to `tokens - 1`, query minus key. */
  readonly rows: readonly number[];
}

/**
 * The operations of a forward pass. `T` stands for activations: tensors where
 * the pass is computed, shapes where it is counted.
 *
 * Linear modules are referred to by name, with a bias if the model has one. Whether a
 * module is frozen, carries adapters at one rank or several, or is trained
 * itself is up to the pass. Activations are `[sequences * tokens, width]`, and
 * those split into heads `[sequences, heads, tokens, depth]`. Dropout happens
 * in training only.
 */
export interface Pass<T> {
  /** Tokens of each sequence, padding included. */
  readonly tokens: number;
  /** `dropout(LayerNorm(x))`, with x the sum of the rows that are looked up in the tables. */
  embed(
    tables: readonly (readonly [table: string, index: Index])[],
    norm: Norm,
    dropout: number,
  ): T;
  /** The same rows of a table for all sequences, as one sequence: `[rows, width]` */
  rows(table: string, rows: readonly number[]): T;
  /**
   * A table `[buckets, heads]` of relative positions as a bias of attention, `[1, heads, tokens, tokens]`.
   *
   * @param bucket Row of the table for a distance, key minus query
   * @param factor Multiplies all biases
   */
  positionBias(
    table: string,
    bucket: (distance: number) => number,
    factor: number,
  ): T;
  /**
   * Several linear modules on the same input as one product, split into heads.
   *
   * @param parts Parts of the result, each of the same width; one for each module by default
   */
  heads(modules: readonly string[], x: T, heads: number, parts?: number): T[];
  /** Rotary positions of heads (arXiv 2104.09864), halves of the depth paired as in GPT-NeoX. */
  rotary(x: T, theta: number): T;
  /** The products of contents and relative positions in disentangled attention (arXiv 2006.03654, equation 4): a bias of attention. */
  disentangle(query: T, key: T, positions: RelativePositions<T>): T;
  /** Scaled dot-product attention on heads, padding masked; heads joined again. */
  attention(query: T, key: T, value: T, options: AttentionOptions<T>): T;
  /** `LayerNorm(dropout(module(x)) + residual)`. */
  addNorm(module: string, x: T, residual: T, norm: Norm, dropout: number): T;
  /** `dropout(module(x)) + residual`. */
  add(module: string, x: T, residual: T, dropout: number): T;
  norm(x: T, norm: Norm): T;
  /** `GELU(module(x))`, GELU in its exact form. */
  gelu(module: string, x: T): T;
  /** `GELU(y1) * y2`, with `y1` and `y2` the halves of `module(x)` (arXiv 2002.05202). */
  geglu(module: string, x: T): T;
  /** `module(x)`. */
  linear(module: string, x: T): T;
  tanh(x: T): T;
  relu(x: T): T;
  dropout(x: T, rate: number): T;
  /** The first token of each sequence, split into heads or not. */
  first(x: T): T;
  /** The mean of the tokens of each sequence that are not padding: `[sequences, width]`. */
  mean(x: T): T;
  /** The positions of the last layer that the head reads: {@linkcode first}, unless the pass computes all hidden states. */
  read(x: T): T;
  /** Called with the hidden states of the embeddings and of each layer. */
  observe(x: T): void;
}

/** The tensors of a new linear layer of the head. */
export function headLinear(
  name: string,
  inputs: number,
  outputs: number,
): HeadTensor[] {
  return [
    { name: `${name}.weight`, shape: [outputs, inputs], start: "normal" },
    { name: `${name}.bias`, shape: [outputs], start: "zeros" },
  ];
}

/** The tensors of a dense layer of the head, `[hidden, hidden]`: those of the model's file if it was saved with a head, otherwise new ones. */
export function headDense(name: string, hidden: number): HeadTensor[] {
  return [
    {
      name: `${name}.weight`,
      shape: [hidden, hidden],
      start: "pretrained",
      otherwise: "normal",
    },
    {
      name: `${name}.bias`,
      shape: [hidden],
      start: "pretrained",
      otherwise: "zeros",
    },
  ];
}

/** Shapes of a linear module with bias: weight `[out, in]`, bias `[out]`. */
export function linearShapes(
  name: string,
  inputs: number,
  outputs: number,
): [string, readonly number[]][] {
  return [[`${name}.weight`, [outputs, inputs]], [`${name}.bias`, [outputs]]];
}

/** Shapes of a layer normalization. */
export function normShapes(
  name: string,
  width: number,
): [string, readonly number[]][] {
  return [[`${name}.weight`, [width]], [`${name}.bias`, [width]]];
}

/** Positions counted from 0, `[batch, seq]`. Beyond the table there is only padding, which is masked, so its last row is used. */
export function countedPositions(
  batch: number,
  seq: number,
  rows: number,
): Int32Array<ArrayBuffer> {
  return Int32Array.from(
    { length: batch * seq },
    (_, i) => Math.min(i % seq, rows - 1),
  );
}

/** Positions counted from `padId + 1` as in fairseq, `padId` for padding: `[batch, seq]`. */
export function positionsAfterPadding(
  ids: Int32Array,
  batch: number,
  seq: number,
  padId: number,
  rows: number,
): Int32Array<ArrayBuffer> {
  const positions = new Int32Array(batch * seq).fill(padId);
  for (let row = 0; row < batch; row++) {
    let next = padId + 1;
    for (let i = row * seq; i < (row + 1) * seq; i++) {
      if (ids[i] !== padId) positions[i] = Math.min(next++, rows - 1);
    }
  }
  return positions;
}
