import * as z from "zod";
import { count, epsilon, layerCount, rate } from "./bert.ts";
import type { Architecture, Pass } from "./model.ts";

/**
 * ModernBERT (arXiv 2412.13663), as transformers'
 * `ModernBertForSequenceClassification` computes it: pre-norm layers without
 * biases, rotary positions, GeGLU, and attention within a window in all but
 * every third layer.
 */
export const modernbert: Architecture = {
  type: "modernbert",
  classifierClass: "ModernBertForSequenceClassification",
  prefix: "model",
  targetModules: ["Wqkv"],
  tokenizer: { class: "PreTrainedTokenizerFast", isFixed: true, pairType: 0 },
  configure(json) {
    const config = ModernBertConfig.parse(json);
    return {
      layers: config.num_hidden_layers,
      hidden: config.hidden_size,
      vocabSize: config.vocab_size,
      padId: config.pad_token_id,
      maxLength: config.max_position_embeddings,
      headSettings: {
        dropout: config.classifier_dropout,
        epsilon: config.norm_eps,
        pooling: config.classifier_pooling,
      },
      encoder: (m) => encode(m, config),
    };
  },
  head(m, x, labels, { dropout, epsilon = 0, pooling }) {
    const pooled = pooling === "mean" ? m.mean(x) : m.first(x);
    const dense = m.gelu(m.linear("head.dense", pooled, undefined, false));
    const features = m.norm("head.norm", [dense], { epsilon, bias: false });
    return m.logits(
      "classifier",
      m.dropout(features, dropout),
      labels,
      (inputs) => inputs ** -0.5,
    );
  },
};

const LayerType = z.enum(["full_attention", "sliding_attention"]);
type LayerType = z.output<typeof LayerType>;

/** Rotary positions of a kind of layer; other kinds than the plain ones change the frequencies. */
const Rope = z.looseObject({
  rope_type: z.literal("default").default("default"),
  /** Its older name. */
  type: z.literal("default").default("default"),
  rope_theta: z.number().positive().optional(),
});
const noBias = z.literal(false).default(false);

const ModernBertConfig = z.looseObject({
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  intermediate_size: count,
  max_position_embeddings: count,
  pad_token_id: z.int().min(0).default(50283),
  norm_eps: epsilon.default(1e-5),
  hidden_activation: z.literal("gelu").default("gelu"),
  classifier_activation: z.literal("gelu").default("gelu"),
  norm_bias: noBias,
  attention_bias: noBias,
  mlp_bias: noBias,
  classifier_bias: noBias,
  local_attention: count.min(2).default(128),
  layer_types: z.array(LayerType).nullish(),
  global_attn_every_n_layers: count.default(3),
  rope_parameters: z.partialRecord(LayerType, Rope.nullable()).nullish(),
  rope_scaling: Rope.omit({ rope_theta: true }).nullish(),
  global_rope_theta: z.number().positive().nullish(),
  local_rope_theta: z.number().positive().nullish(),
  embedding_dropout: rate.default(0),
  attention_dropout: rate.default(0),
  mlp_dropout: rate.default(0),
  classifier_dropout: rate.default(0),
  classifier_pooling: z.enum(["cls", "mean"]).default("cls"),
}).superRefine((config, { addIssue }) => {
  const { hidden_size, num_attention_heads, layer_types } = config;
  if (hidden_size % (2 * num_attention_heads) !== 0) {
    addIssue({
      code: "custom",
      path: ["hidden_size"],
      message: `Expected a multiple of twice num_attention_heads (${
        2 * num_attention_heads
      }), got ${hidden_size}`,
    });
  }
  if (layer_types && layer_types.length !== config.num_hidden_layers) {
    addIssue({
      code: "custom",
      path: ["layer_types"],
      message:
        `Expected num_hidden_layers (${config.num_hidden_layers}) entries, got ${layer_types.length}`,
    });
  }
});

type ModernBertConfig = z.output<typeof ModernBertConfig>;

function layerTypes(config: ModernBertConfig): readonly LayerType[] {
  const every = config.global_attn_every_n_layers;
  return config.layer_types ??
    Array.from(
      { length: config.num_hidden_layers },
      (_, i) => i % every === 0 ? "full_attention" : "sliding_attention",
    );
}

/**
 * Base of the rotary positions, which configurations name in two ways; null in
 * the older one where the newer is used. A null for sliding attention alone
 * stands for the base of full attention.
 */
function thetaOf(config: ModernBertConfig, type: LayerType): number {
  const { rope_parameters, local_rope_theta: local = 10_000 } = config;
  const global = config.global_rope_theta ?? 160_000;
  return rope_parameters?.[type]?.rope_theta ??
    (type === "full_attention" ? global : local ?? global);
}

function encode<T>(m: Pass<T>, config: ModernBertConfig): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const bias = false;
  const norm = { epsilon: config.norm_eps, bias };
  const table = "model.embeddings.tok_embeddings";
  let x = m.norm(
    "model.embeddings.norm",
    [m.embed(table, "ids", config.vocab_size, hidden)],
    { ...norm, dropout: config.embedding_dropout },
  );
  m.observe(x);
  layerTypes(config).forEach((type, i, { length }) => {
    const name = `model.layers.${i}`;
    const isLast = i === length - 1;
    const read = (y: T) =>
      isLast && config.classifier_pooling === "cls" ? m.read(y) : y;
    const [query, key, value] = m.heads(
      [`${name}.attn.Wqkv`],
      i === 0 ? x : m.norm(`${name}.attn_norm`, [x], norm),
      heads,
      { parts: 3, bias },
    ) as [T, T, T];
    const theta = thetaOf(config, type);
    const context = m.attention(
      m.rotary(read(query), theta),
      m.rotary(key, theta),
      value,
      {
        dropout: config.attention_dropout,
        window: type === "sliding_attention"
          ? Math.floor(config.local_attention / 2)
          : undefined,
      },
    );
    const projected = m.linear(`${name}.attn.Wo`, context, hidden, bias);
    x = m.add(m.dropout(projected, config.attention_dropout), read(x));
    const normed = m.norm(`${name}.mlp_norm`, [x], norm);
    const inner = m.geglu(
      m.linear(`${name}.mlp.Wi`, normed, 2 * config.intermediate_size, bias),
    );
    const dropped = m.dropout(inner, config.mlp_dropout);
    x = m.add(m.linear(`${name}.mlp.Wo`, dropped, hidden, bias), x);
    if (isLast) x = m.norm("model.final_norm", [x], norm);
    m.observe(x);
  });
  return x;
}
