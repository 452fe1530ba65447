import * as z from "zod";
import type { TokenizerClass } from "../../text/tokenizer_files.ts";
import type { Architecture, Description, Pass } from "./model.ts";

/**
 * BERT (arXiv 1810.04805), as transformers' `BertForSequenceClassification`
 * computes it.
 */
export const bert: Architecture = {
  type: "bert",
  classifierClass: "BertForSequenceClassification",
  prefix: "bert",
  targetModules: ["query", "value"],
  tokenizer: {
    class: "BertTokenizer",
    classes: { BertTokenizer: wordPiece(true) },
    pairType: 1,
  },
  configure(json) {
    const config = BertConfig.parse(json);
    return {
      ...bertSizes(config),
      encoder: (m) => bertEncoder(m, "bert", config),
    };
  },
  head(m, x, labels, { dropout }) {
    const pooled = m.tanh(m.linear("bert.pooler.dense", m.first(x)));
    return m.logits("classifier", m.dropout(pooled, dropout), labels);
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

/** Fields of `config.json` that BERT has and many share. */
export const BertFields = z.looseObject({
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  intermediate_size: count,
  max_position_embeddings: count,
  type_vocab_size: count.default(2),
  pad_token_id: z.int().min(0).nullish(),
  layer_norm_eps: epsilon.default(1e-12),
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

type BertFields = z.output<typeof BertFields>;

/** The `config.json` of BERT. */
export const BertConfig = BertFields.safeExtend({
  hidden_act: z.literal("gelu").default("gelu"),
});

export type BertConfig = z.output<typeof BertConfig>;

/** What a model of BERT's sizes is, apart from its encoder. */
export function bertSizes(
  config: BertFields,
): Omit<Description, "encoder"> {
  return {
    layers: config.num_hidden_layers,
    hidden: config.hidden_size,
    vocabSize: config.vocab_size,
    padId: config.pad_token_id ?? 0,
    maxLength: config.max_position_embeddings,
    headSettings: {
      dropout: config.classifier_dropout ?? config.hidden_dropout_prob,
    },
  };
}

/**
 * BERT's embeddings.
 *
 * @param width By default that of the layers
 */
export function bertEmbeddings<T>(
  m: Pass<T>,
  name: string,
  config: BertFields,
  width = config.hidden_size,
): T {
  const table = (
    of: string,
    index: "ids" | "positions" | "types",
    rows: number,
  ) => m.embed(`${name}.${of}`, index, rows, width);
  const words = table("word_embeddings", "ids", config.vocab_size);
  const positions = table(
    "position_embeddings",
    "positions",
    config.max_position_embeddings,
  );
  const types = table("token_type_embeddings", "types", config.type_vocab_size);
  return m.norm(`${name}.LayerNorm`, [words, types, positions], {
    epsilon: config.layer_norm_eps,
    dropout: config.hidden_dropout_prob,
  });
}

/** BERT's encoder under a name. */
export function bertEncoder<T>(
  m: Pass<T>,
  name: string,
  config: BertConfig,
  embedding?: number,
): T {
  let x = bertEmbeddings(m, `${name}.embeddings`, config, embedding);
  if (embedding !== undefined && embedding !== config.hidden_size) {
    x = m.linear(`${name}.embeddings_project`, x, config.hidden_size);
  }
  m.observe(x);
  const layers = config.num_hidden_layers;
  for (let i = 0; i < layers; i++) {
    const layer = `${name}.encoder.layer.${i}`;
    const read = i === layers - 1 ? m.read(x) : x;
    const [query, key, value] = m.heads(
      ["query", "key", "value"].map((of) => `${layer}.attention.self.${of}`),
      x,
      config.num_attention_heads,
      { read },
    ) as [T, T, T];
    const context = m.attention(query, key, value, {
      dropout: config.attention_probs_dropout_prob,
    });
    x = bertOutput(m, layer, context, read, config);
    m.observe(x);
  }
  return x;
}

/** What BERT's layers do with what attention gives, and DeBERTa's. */
export function bertOutput<T>(
  m: Pass<T>,
  name: string,
  context: T,
  x: T,
  config: BertConfig,
): T {
  const projected = m.linear(`${name}.attention.output.dense`, context);
  const attended = m.norm(
    `${name}.attention.output.LayerNorm`,
    [m.dropout(projected, config.hidden_dropout_prob), x],
    { epsilon: config.layer_norm_eps },
  );
  return bertFeedForward(m, name, attended, config);
}

/** BERT's feed-forward network, and MPNet's. */
export function bertFeedForward<T>(
  m: Pass<T>,
  name: string,
  x: T,
  config: BertConfig,
): T {
  const inner = m.gelu(
    m.linear(`${name}.intermediate.dense`, x, config.intermediate_size),
  );
  const outer = m.linear(`${name}.output.dense`, inner, config.hidden_size);
  return m.norm(
    `${name}.output.LayerNorm`,
    [m.dropout(outer, config.hidden_dropout_prob), x],
    { epsilon: config.layer_norm_eps },
  );
}

/** A class of transformers with BERT's WordPiece. */
export function wordPiece(types: boolean): TokenizerClass {
  return {
    types,
    sets: {
      part: "normalizer",
      value: (given, options) =>
        given?.type !== "BertNormalizer" ? given : {
          ...given,
          lowercase: options.do_lower_case ?? true,
          strip_accents: options.strip_accents ?? null,
          handle_chinese_chars: options.tokenize_chinese_chars ?? true,
        },
    },
  };
}
