import { z } from "zod";
import { count, epsilon, layerCount, rate } from "./bert.ts";
import {
  type Architecture,
  countedPositions,
  type Model,
  type Norm,
  type Pass,
  type TensorShape,
} from "./model.ts";

/**
 * ModernBERT (arXiv 2412.13663), as transformers'
 * `ModernBertForSequenceClassification` computes it: pre-norm layers without
 * biases, rotary positions, GeGLU, and attention within a window in all but
 * every third layer.
 */
export const modernbert: Architecture = {
  type: "modernbert",
  classifierClass: "ModernBertForSequenceClassification",
  tokenizerClass: "PreTrainedTokenizerFast",
  prefix: "model",
  pairType: 0,
  targetModules: ["Wqkv"],
  head: (hidden, labels) => [
    {
      name: "head.dense.weight",
      shape: [hidden, hidden],
      start: "pretrained",
      otherwise: "normal",
    },
    {
      name: "head.norm.weight",
      shape: [hidden],
      start: "pretrained",
      otherwise: "ones",
    },
    {
      name: "classifier.weight",
      shape: [labels, hidden],
      start: "normal",
      deviation: hidden ** -0.5,
    },
    { name: "classifier.bias", shape: [labels], start: "zeros" },
  ],
  configure(json): Model {
    const config = ModernBertConfig.parse(json);
    const { hidden_size: hidden, num_hidden_layers: layers } = config;
    const rows = config.max_position_embeddings;
    return {
      architecture: modernbert,
      layers,
      hidden,
      vocabSize: config.vocab_size,
      padId: config.pad_token_id,
      maxLength: rows,
      tensors: new Map([
        weight(EMBEDDINGS, [config.vocab_size, hidden]),
        weight("model.embeddings.norm", [hidden]),
        ...Array.from(
          { length: layers },
          (_, i) => layerShapes(i, hidden, config.intermediate_size),
        ).flat(),
        weight("model.final_norm", [hidden]),
      ]),
      positions: (_ids, batch, seq) => countedPositions(batch, seq, rows),
      forward: (m) => {
        const x = encode(m, config);
        const pooled = config.classifier_pooling === "cls"
          ? m.first(x)
          : m.mean(x);
        const features = m.norm(
          m.gelu("head.dense", pooled),
          { name: "head.norm", epsilon: config.norm_eps },
        );
        return m.linear(
          "classifier",
          m.dropout(features, config.classifier_dropout),
        );
      },
    };
  },
};

const EMBEDDINGS = "model.embeddings.tok_embeddings";

/** The encoder. Only the part of the last layer that the head reads is computed. */
function encode<T>(m: Pass<T>, config: ModernBertConfig): T {
  const norm = (name: string): Norm => ({ name, epsilon: config.norm_eps });
  let x = m.embed(
    [[EMBEDDINGS, "ids"]],
    norm("model.embeddings.norm"),
    config.embedding_dropout,
  );
  m.observe(x);
  layerTypes(config).forEach((type, i, { length }) => {
    const layer = `model.layers.${i}`;
    const isLast = i === length - 1;
    const read = (y: T) =>
      isLast && config.classifier_pooling === "cls" ? m.read(y) : y;
    const [query, key, value] = m.heads(
      [`${layer}.attn.Wqkv`],
      i === 0 ? x : m.norm(x, norm(`${layer}.attn_norm`)),
      config.num_attention_heads,
      3,
    ) as [T, T, T];
    const theta = thetaOf(config, type);
    const attended = m.attention(
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
    x = m.add(`${layer}.attn.Wo`, attended, read(x), config.attention_dropout);
    const gated = m.dropout(
      m.geglu(`${layer}.mlp.Wi`, m.norm(x, norm(`${layer}.mlp_norm`))),
      config.mlp_dropout,
    );
    x = m.add(`${layer}.mlp.Wo`, gated, x, 0);
    if (isLast) x = m.norm(x, norm("model.final_norm"));
    m.observe(x);
  });
  return x;
}

function layerShapes(
  index: number,
  hidden: number,
  intermediate: number,
): [string, readonly number[]][] {
  const layer = `model.layers.${index}`;
  return [
    ...(index === 0 ? [] : [weight(`${layer}.attn_norm`, [hidden])]),
    weight(`${layer}.attn.Wqkv`, [3 * hidden, hidden]),
    weight(`${layer}.attn.Wo`, [hidden, hidden]),
    weight(`${layer}.mlp_norm`, [hidden]),
    weight(`${layer}.mlp.Wi`, [2 * intermediate, hidden]),
    weight(`${layer}.mlp.Wo`, [hidden, intermediate]),
  ];
}

function weight(
  name: string,
  shape: TensorShape["shape"],
): [string, readonly number[]] {
  return [`${name}.weight`, shape];
}

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
