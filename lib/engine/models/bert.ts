import { z } from "zod";
import {
  type Architecture,
  type AttentionOptions,
  countedPositions,
  headDense,
  headLinear,
  linearShapes,
  type Model,
  type Norm,
  normShapes,
  type Pass,
} from "./model.ts";

/**
 * BERT (arXiv 1810.04805), as transformers' `BertForSequenceClassification`
 * computes it.
 */
export const bert: Architecture = {
  type: "bert",
  classifierClass: "BertForSequenceClassification",
  tokenizerClass: "BertTokenizer",
  prefix: "bert",
  pairType: 1,
  targetModules: ["query", "value"],
  head: (hidden, labels) => [
    // Models for masked words alone are saved without a pooler.
    ...headDense("bert.pooler.dense", hidden),
    ...headLinear("classifier", hidden, labels),
  ],
  configure(json): Model {
    const config = BertConfig.parse(json);
    const rows = config.max_position_embeddings;
    return {
      ...bertEncoder(bert, config),
      padId: config.pad_token_id ?? 0,
      maxLength: rows,
      positions: (_ids, batch, seq) => countedPositions(batch, seq, rows),
      forward: (m) => {
        const pooled = m.tanh(
          m.linear("bert.pooler.dense", m.first(encode(m, "bert", config))),
        );
        return m.linear("classifier", m.dropout(pooled, headDropout(config)));
      },
    };
  },
};

/** A size in a `config.json`. */
export const count = z.int().min(1).max(1 << 20);
/** A number of layers. */
export const layerCount = z.int().min(1).max(1000);
/** A rate of dropout. */
export const rate = z.number().min(0).lt(1);
/** Epsilon of a layer normalization. */
export const epsilon = z.number().positive().max(0.1);

/** Message for a size that is not a multiple of a number in the same `config.json`. */
export function notMultiple(
  config: unknown,
  size: string,
  factor: string,
): string {
  const { [size]: found, [factor]: of } = config as Record<string, unknown>;
  return `Expected a multiple of ${factor} (${of}), got ${found}`;
}

/** The `config.json` of BERT, which RoBERTa shares. */
export const BertConfig = z.looseObject({
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  intermediate_size: count,
  max_position_embeddings: count,
  type_vocab_size: count.default(2),
  pad_token_id: z.int().min(0).nullish(),
  layer_norm_eps: epsilon.default(1e-12),
  hidden_act: z.literal("gelu").default("gelu"),
  position_embedding_type: z.literal("absolute").default("absolute"),
  is_decoder: z.literal(false).default(false),
  hidden_dropout_prob: rate.default(0.1),
  attention_probs_dropout_prob: rate.default(0.1),
  classifier_dropout: rate.nullish(),
}).refine(
  ({ hidden_size, num_attention_heads }) =>
    hidden_size % num_attention_heads === 0,
  {
    path: ["hidden_size"],
    error: ({ input }) =>
      notMultiple(input, "hidden_size", "num_attention_heads"),
  },
);

export type BertConfig = z.output<typeof BertConfig>;

/** Rate of the dropouts in the head. */
export function headDropout(config: BertConfig): number {
  return config.classifier_dropout ?? config.hidden_dropout_prob;
}

/**
 * What BERT's encoder is in a model of any prefix.
 *
 * @param embedding Width of the embeddings, by default that of the layers
 */
export function bertEncoder(
  architecture: Architecture,
  config: BertConfig,
  embedding: number = config.hidden_size,
): Pick<
  Model,
  "architecture" | "layers" | "hidden" | "vocabSize" | "tensors"
> {
  const { hidden_size: hidden, num_hidden_layers: layers } = config;
  const { prefix } = architecture;
  const embeddings = `${prefix}.embeddings`;
  return {
    architecture,
    layers,
    hidden,
    vocabSize: config.vocab_size,
    tensors: new Map([
      [`${embeddings}.word_embeddings.weight`, [config.vocab_size, embedding]],
      [
        `${embeddings}.position_embeddings.weight`,
        [config.max_position_embeddings, embedding],
      ],
      [
        `${embeddings}.token_type_embeddings.weight`,
        [config.type_vocab_size, embedding],
      ],
      ...normShapes(`${embeddings}.LayerNorm`, embedding),
      ...(embedding === hidden ? [] : linearShapes(
        `${prefix}.embeddings_project`,
        embedding,
        hidden,
      )),
      ...layerNames(prefix, layers).flatMap((names) =>
        layerShapes(names, hidden, config.intermediate_size)
      ),
    ]),
  };
}

/** BERT's encoder. Only the part of the last layer that the head reads is computed. */
export function encode<T>(
  m: Pass<T>,
  prefix: string,
  config: BertConfig,
  embedding: number = config.hidden_size,
): T {
  const { hidden_dropout_prob: dropout, layer_norm_eps: epsilon } = config;
  const embeddings = `${prefix}.embeddings`;
  let x = m.embed(
    [
      [`${embeddings}.word_embeddings`, "ids"],
      [`${embeddings}.token_type_embeddings`, "types"],
      [`${embeddings}.position_embeddings`, "positions"],
    ],
    { name: `${embeddings}.LayerNorm`, epsilon },
    dropout,
  );
  if (embedding !== config.hidden_size) {
    x = m.linear(`${prefix}.embeddings_project`, x);
  }
  m.observe(x);
  layerNames(prefix, config.num_hidden_layers).forEach((names, i) => {
    x = encodeLayer(m, names, x, {
      heads: config.num_attention_heads,
      isLast: i === config.num_hidden_layers - 1,
      epsilon,
      attention: () => ({ dropout: config.attention_probs_dropout_prob }),
      attentionDropout: dropout,
      dropout,
    });
  });
  return x;
}

function layerNames(prefix: string, layers: number): LayerNames[] {
  return Array.from({ length: layers }, (_, i) => {
    const layer = `${prefix}.encoder.layer.${i}`;
    return {
      query: `${layer}.attention.self.query`,
      key: `${layer}.attention.self.key`,
      value: `${layer}.attention.self.value`,
      attentionOutput: `${layer}.attention.output.dense`,
      attentionNorm: `${layer}.attention.output.LayerNorm`,
      intermediate: `${layer}.intermediate.dense`,
      output: `${layer}.output.dense`,
      norm: `${layer}.output.LayerNorm`,
    };
  });
}

/** Names of the modules of a post-norm layer. */
export interface LayerNames {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly attentionOutput: string;
  readonly attentionNorm: string;
  readonly intermediate: string;
  readonly output: string;
  readonly norm: string;
}

/** Shapes of the tensors of a post-norm layer. */
export function layerShapes(
  names: LayerNames,
  hidden: number,
  intermediate: number,
): [string, readonly number[]][] {
  return [
    ...linearShapes(names.query, hidden, hidden),
    ...linearShapes(names.key, hidden, hidden),
    ...linearShapes(names.value, hidden, hidden),
    ...linearShapes(names.attentionOutput, hidden, hidden),
    ...normShapes(names.attentionNorm, hidden),
    ...linearShapes(names.intermediate, hidden, intermediate),
    ...linearShapes(names.output, intermediate, hidden),
    ...normShapes(names.norm, hidden),
  ];
}

/** How a post-norm layer is computed. */
interface LayerOptions<T> {
  readonly heads: number;
  /** True to compute only what the head reads. */
  readonly isLast: boolean;
  /** Of both layer normalizations. */
  readonly epsilon: number;
  /** What attention is computed with, given queries and keys. */
  readonly attention: (query: T, key: T) => AttentionOptions<T>;
  /** Dropout of the attention's output. */
  readonly attentionDropout: number;
  /** Dropout of the layer's output. */
  readonly dropout: number;
}

/** A post-norm layer: attention and a feed-forward network with GELU, each added to its input and normalized. */
export function encodeLayer<T>(
  m: Pass<T>,
  names: LayerNames,
  x: T,
  options: LayerOptions<T>,
): T {
  const { heads, isLast, epsilon } = options;
  const { query, key, value } = names;
  const norm = (name: string): Norm => ({ name, epsilon });
  const read = isLast ? m.read(x) : x;
  const [q, k, v] = (read === x ? m.heads([query, key, value], x, heads) : [
    ...m.heads([query], read, heads),
    ...m.heads([key, value], x, heads),
  ]) as [T, T, T];
  const attended = m.addNorm(
    names.attentionOutput,
    m.attention(q, k, v, options.attention(q, k)),
    read,
    norm(names.attentionNorm),
    options.attentionDropout,
  );
  const y = m.addNorm(
    names.output,
    m.gelu(names.intermediate, attended),
    attended,
    norm(names.norm),
    options.dropout,
  );
  m.observe(y);
  return y;
}
