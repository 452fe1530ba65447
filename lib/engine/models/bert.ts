import * as z from "zod";
import type { TokenizerClass } from "../../text/tokenizer_files.ts";
import {
  count,
  epsilon,
  multipleOf,
  padToken,
  rate,
  SIZES,
  sizesOf,
} from "./config.ts";
import {
  type Architecture,
  type Description,
  type Head,
  type Index,
  inLayers,
  type Pass,
  type Read,
} from "./model.ts";

/**
 * BERT (arXiv 1810.04805), as transformers' `BertForSequenceClassification`
 * computes it.
 */
export const bert: Architecture = {
  type: "bert",
  className: "Bert",
  prefix: "bert",
  targetModules: ["query", "value"],
  tokenizer: {
    class: "BertTokenizer",
    classes: { BertTokenizer: wordPiece(true) },
    pairType: 1,
  },
  configure(json) {
    const config = BertConfig.parse(json);
    const head = (dropout: number) => bertHead("bert.pooler.dense", dropout);
    return bertModel("bert", config, head);
  },
};

/** A class of transformers with BERT's WordPiece. */
export function wordPiece(types: boolean): TokenizerClass {
  return {
    types,
    sets: {
      part: "normalizer",
      value: (part, options) =>
        part?.type !== "BertNormalizer" ? part : {
          ...part,
          lowercase: options.do_lower_case ?? true,
          strip_accents: options.strip_accents ?? null,
          handle_chinese_chars: options.tokenize_chinese_chars ?? true,
        },
    },
  };
}

/** The `config.json` of BERT, whose fields many share. */
export const BertConfig = z.looseObject({
  ...SIZES,
  type_vocab_size: count.default(2),
  pad_token_id: padToken.nullish(),
  layer_norm_eps: epsilon.default(1e-12),
  position_embedding_type: z.literal("absolute").default("absolute"),
  is_decoder: z.literal(false).default(false),
  hidden_act: z.enum(["gelu", "gelu_new"]).default("gelu"),
  hidden_dropout_prob: rate.default(0.1),
  attention_probs_dropout_prob: rate.default(0.1),
  classifier_dropout: rate.nullish(),
}).superRefine(multipleOf("hidden_size", "num_attention_heads"));

export type BertConfig = z.output<typeof BertConfig>;

/** What a model of BERT's sizes is, apart from what it computes. */
export function bertSizes(
  config: BertConfig,
): Omit<Description, "encoder" | "heads"> {
  return { ...sizesOf(config), padId: config.pad_token_id ?? 0 };
}

/**
 * A model of BERT's encoder under a name.
 *
 * @param headOf Its head for a sequence, with the rate of the dropout before
 * the last layer
 * @param width Of the embeddings
 */
export function bertModel(
  name: string,
  config: BertConfig,
  headOf: (dropout: number) => Head,
  width = config.hidden_size,
): Description {
  const dropout = config.classifier_dropout ?? config.hidden_dropout_prob;
  return {
    ...bertSizes(config),
    encoder: (m, read) => encode(m, name, config, width, read),
    heads: { sequence: headOf(dropout), tokens: tokensHead(dropout) },
  };
}

/** BERT's head: the pooler on the first token, and a linear layer. */
export function bertHead(pooler: string, dropout: number): Head {
  return {
    read: (m, x) => m.first(x),
    logits(m, first, outputs) {
      const pooled = m.activate(m.linear(pooler, first), "tanh");
      return m.logits("classifier", m.dropout(pooled, dropout), outputs);
    },
  };
}

/** The head for tokens that most models have: a linear layer on each. */
export function tokensHead(dropout: number, name = "classifier"): Head {
  return {
    logits: (m, x, outputs) => m.logits(name, m.dropout(x, dropout), outputs),
  };
}

function encode<T>(
  m: Pass<T>,
  name: string,
  config: BertConfig,
  width: number,
  read?: Read<T>,
): T {
  const { hidden_size: hidden } = config;
  let x = bertEmbeddings(m, `${name}.embeddings`, config, width);
  if (width !== hidden) {
    x = m.linear(`${name}.embeddings_project`, x, { width: hidden });
  }
  return inLayers(m, config.num_hidden_layers, x, (i, x) => {
    const layer = `${name}.encoder.layer.${i}`;
    const self = `${layer}.attention.self`;
    const output = `${layer}.attention.output`;
    const attended = bertAttention(m, { self, output }, x, config);
    return bertFeedForward(m, layer, attended, config);
  }, read);
}

/**
 * Attention of all tokens to each other, by modules of these names, and a
 * residual connection.
 */
export function bertAttention<T>(
  m: Pass<T>,
  { self, output }: Readonly<Record<"self" | "output", string>>,
  x: T,
  config: BertConfig,
): T {
  const modules = [`${self}.query`, `${self}.key`, `${self}.value`] as const;
  const heads = m.heads(modules, x, config.num_attention_heads);
  const context = m.attention(...heads, {
    dropout: config.attention_probs_dropout_prob,
  });
  return bertOutput(m, output, context, x, config);
}

/** BERT's embeddings; tables without rows are left out. */
export function bertEmbeddings<T>(
  m: Pass<T>,
  name: string,
  config: BertConfig,
  width = config.hidden_size,
): T {
  const table = (of: string, index: Index, rows: number) =>
    rows === 0 ? [] : [m.embed(`${name}.${of}`, index, [rows, width])];
  const words = table("word_embeddings", "ids", config.vocab_size);
  const positions = table(
    "position_embeddings",
    "positions",
    config.max_position_embeddings,
  );
  const types = table("token_type_embeddings", "types", config.type_vocab_size);
  return m.norm(`${name}.LayerNorm`, [...words, ...types, ...positions], {
    epsilon: config.layer_norm_eps,
    dropout: config.hidden_dropout_prob,
  });
}

/** Two linear modules with GELU between them, and a residual connection. */
export function bertFeedForward<T>(
  m: Pass<T>,
  layer: string,
  x: T,
  config: BertConfig,
): T {
  const inner = m.activate(
    m.linear(`${layer}.intermediate.dense`, x, {
      width: config.intermediate_size,
    }),
    config.hidden_act,
  );
  return bertOutput(m, `${layer}.output`, inner, x, config);
}

/** End of each half of a layer: `LayerNorm(dropout(x W^T + b) + residual)`. */
export function bertOutput<T>(
  m: Pass<T>,
  name: string,
  x: T,
  residual: T,
  config: BertConfig,
): T {
  const dense = m.linear(`${name}.dense`, x, { width: config.hidden_size });
  const dropped = m.dropout(dense, config.hidden_dropout_prob);
  return m.norm(`${name}.LayerNorm`, [dropped, residual], {
    epsilon: config.layer_norm_eps,
  });
}
