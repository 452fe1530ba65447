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
import { type Architecture, inLayers, type Pass } from "./model.ts";

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
      ...sizesOf(config),
      padId: config.pad_token_id,
      epsilon: config.norm_eps,
      headSettings: {
        dropout: config.classifier_dropout,
        pooling: config.classifier_pooling,
      },
      encoder: (m) => encode(m, config),
    };
  },
  head(m, x, labels, { dropout, pooling }) {
    const pooled = pooling === "mean" ? m.mean(x) : m.first(x);
    const dense = m.gelu(m.linear("head.dense", pooled, undefined, false));
    const features = m.norm("head.norm", [dense], { bias: false });
    return m.logits(
      "classifier",
      m.dropout(features, dropout),
      labels,
      (inputs) => inputs ** -0.5,
    );
  },
};

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

function encode<T>(m: Pass<T>, config: ModernBertConfig): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const bias = false;
  const table = "model.embeddings.tok_embeddings";
  const embeddings = m.norm(
    "model.embeddings.norm",
    [m.embed(table, "ids", config.vocab_size, hidden)],
    { bias, dropout: config.embedding_dropout },
  );
  const types = layerTypes(config);
  return inLayers(m, types.length, embeddings, (i, x, readFirst) => {
    const layer = `model.layers.${i}`;
    const read = config.classifier_pooling === "cls" ? readFirst : (y: T) => y;
    const qkv = `${layer}.attn.Wqkv`;
    const [query, key, value] = m.heads(
      [qkv, qkv, qkv],
      i === 0 ? x : m.norm(`${layer}.attn_norm`, [x], { bias }),
      heads,
      { bias },
    );
    const theta = thetaOf(config, types[i]!);
    const frequencies = rotaryFrequencies(theta, hidden / heads);
    const context = m.attention(
      m.rotary(read(query), frequencies),
      m.rotary(key, frequencies),
      value,
      {
        dropout: config.attention_dropout,
        window: types[i] === "sliding_attention"
          ? Math.floor(config.local_attention / 2)
          : undefined,
      },
    );
    const projected = m.linear(`${layer}.attn.Wo`, context, hidden, bias);
    const attended = m.add(
      m.dropout(projected, config.attention_dropout),
      read(x),
    );
    const normed = m.norm(`${layer}.mlp_norm`, [attended], { bias });
    const inner = m.glu(
      m.linear(`${layer}.mlp.Wi`, normed, 2 * config.intermediate_size, bias),
      "gelu",
    );
    const dropped = m.dropout(inner, config.mlp_dropout);
    const y = m.add(
      m.linear(`${layer}.mlp.Wo`, dropped, hidden, bias),
      attended,
    );
    const isLast = i === types.length - 1;
    return isLast ? m.norm("model.final_norm", [y], { bias }) : y;
  });
}
