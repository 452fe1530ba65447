import * as z from "zod";
import {
  count,
  epsilon,
  LayerType,
  multipleOf,
  ofEveryLayer,
  padToken,
  rate,
  rotaryFrequencies,
  SIZES,
  sizesOf,
} from "./config.ts";
import {
  type Architecture,
  type Head,
  inLayers,
  type Pass,
  type Read,
} from "./model.ts";

/**
 * ModernBERT (arXiv 2412.13663), as transformers'
 * `ModernBertForSequenceClassification` computes it: pre-norm layers without
 * biases, rotary positions, GeGLU, and attention within a window in all but
 * every third layer.
 */
export const modernbert: Architecture = {
  type: "modernbert",
  className: "ModernBert",
  prefix: "model",
  targetModules: ["Wqkv"],
  tokenizer: { class: "PreTrainedTokenizerFast", isFixed: true, pairType: 0 },
  configure(json) {
    const config = ModernBertConfig.parse(json);
    return {
      ...sizesOf(config),
      padId: config.pad_token_id,
      encoder: (m, read) => encode(m, config, read),
      heads: {
        sequence: headOf(config, config.classifier_pooling),
        tokens: headOf(config, "all"),
      },
    };
  },
};

type LayerType = z.output<typeof LayerType>;

/**
 * Rotary positions of a kind of layer; other kinds than the plain ones change
 * the frequencies.
 */
const Rope = z.looseObject({
  rope_type: z.literal("default").default("default"),
  /** Its older name. */
  type: z.literal("default").default("default"),
  rope_theta: z.number().positive().optional(),
});
const noBias = z.literal(false).default(false);

const ModernBertConfig = z.looseObject({
  ...SIZES,
  pad_token_id: padToken.default(50283),
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
}).superRefine(multipleOf("hidden_size", "num_attention_heads", 2))
  .superRefine(ofEveryLayer);

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

/** It reads the first token, the mean of all, or each. */
function headOf(
  config: ModernBertConfig,
  pooling: "cls" | "mean" | "all",
): Head {
  return {
    ...(pooling === "cls" && { read: (m, x) => m.first(x) }),
    logits(m, x, outputs) {
      const pooled = pooling === "mean" ? m.mean(x) : x;
      const dense = m.linear("head.dense", pooled, { bias: false });
      const active = m.activate(dense, "gelu");
      const features = m.norm("head.norm", [active], normOf(config));
      const dropped = m.dropout(features, config.classifier_dropout);
      const deviation = config.hidden_size ** -0.5;
      return m.logits("classifier", dropped, outputs, { deviation });
    },
  };
}

function normOf(config: ModernBertConfig) {
  return { epsilon: config.norm_eps, bias: false };
}

function encode<T>(m: Pass<T>, config: ModernBertConfig, read?: Read<T>): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const norm = normOf(config);
  const bias = false;
  const table = "model.embeddings.tok_embeddings";
  const embeddings = m.norm(
    "model.embeddings.norm",
    [m.embed(table, "ids", [config.vocab_size, hidden])],
    { ...norm, dropout: config.embedding_dropout },
  );
  const types = layerTypes(config);
  const y = inLayers(m, types.length, embeddings, (i, x) => {
    const layer = `model.layers.${i}`;
    const qkv = `${layer}.attn.Wqkv`;
    const [query, key, value] = m.heads(
      [qkv, qkv, qkv],
      i === 0 ? x : m.norm(`${layer}.attn_norm`, [x], norm),
      heads,
      { bias },
    );
    const theta = thetaOf(config, types[i]!);
    const frequencies = rotaryFrequencies(theta, hidden / heads);
    const context = m.attention(
      m.rotary(query, frequencies),
      m.rotary(key, frequencies),
      value,
      {
        dropout: config.attention_dropout,
        window: types[i] === "sliding_attention"
          ? Math.floor(config.local_attention / 2)
          : undefined,
      },
    );
    const projected = m.linear(`${layer}.attn.Wo`, context, { bias });
    const attended = m.add(m.dropout(projected, config.attention_dropout), x);
    const normed = m.norm(`${layer}.mlp_norm`, [attended], norm);
    const inner = m.glu(
      m.linear(`${layer}.mlp.Wi`, normed, {
        width: 2 * config.intermediate_size,
        bias,
      }),
      "gelu",
    );
    const dropped = m.dropout(inner, config.mlp_dropout);
    const outer = m.linear(`${layer}.mlp.Wo`, dropped, { width: hidden, bias });
    return m.add(outer, attended);
  }, read);
  return m.norm("model.final_norm", [y], norm);
}
