import { z } from "zod";
import {
  type Architecture,
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
  prefix: "bert",
  wrapping: { title: "BERT", separators: 1, pairType: 1 },
  targetModules: ["query", "value"],
  head: (hidden, labels) => [
    {
      name: "bert.pooler.dense.weight",
      shape: [hidden, hidden],
      start: "pretrained",
    },
    { name: "bert.pooler.dense.bias", shape: [hidden], start: "pretrained" },
    { name: "classifier.weight", shape: [labels, hidden], start: "normal" },
    { name: "classifier.bias", shape: [labels], start: "zeros" },
  ],
  configure(json): Model {
    const config = BertConfig.parse(json);
    return {
      ...bertEncoder(bert, config),
      padId: config.pad_token_id ?? 0,
      maxLength: config.max_position_embeddings,
      positions(_ids, batch, seq) {
        // Padding beyond the table is masked, so that any row does.
        const last = config.max_position_embeddings - 1;
        return Int32Array.from(
          { length: batch * seq },
          (_, i) => Math.min(i % seq, last),
        );
      },
      forward: (m) => {
        const pooled = m.tanh(
          m.linear("bert.pooler.dense", m.first(encode(m, "bert", config))),
        );
        return m.linear("classifier", m.dropout(pooled, headDropout(config)));
      },
    };
  },
};

const count = z.int().min(1).max(1 << 20);
const rate = z.number().min(0).lt(1);

/** The `config.json` of BERT, which RoBERTa shares. */
export const BertConfig = z.looseObject({
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: z.int().min(1).max(1000),
  num_attention_heads: count,
  intermediate_size: count,
  max_position_embeddings: count,
  type_vocab_size: count.default(2),
  pad_token_id: z.int().min(0).nullish(),
  layer_norm_eps: z.number().positive().max(0.1).default(1e-12),
  hidden_act: z.literal("gelu").default("gelu"),
  position_embedding_type: z.literal("absolute").default("absolute"),
  hidden_dropout_prob: rate.default(0.1),
  attention_probs_dropout_prob: rate.default(0.1),
  classifier_dropout: rate.nullish(),
}).refine(
  ({ hidden_size, num_attention_heads }) =>
    hidden_size % num_attention_heads === 0,
  {
    path: ["hidden_size"],
    error: "Expected a multiple of num_attention_heads",
  },
);

export type BertConfig = z.output<typeof BertConfig>;

/** Rate of the dropouts in the head. */
export function headDropout(config: BertConfig): number {
  return config.classifier_dropout ?? config.hidden_dropout_prob;
}

/** What BERT's encoder is in a model of any prefix. */
export function bertEncoder(
  architecture: Architecture,
  config: BertConfig,
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
      [`${embeddings}.word_embeddings.weight`, [config.vocab_size, hidden]],
      [
        `${embeddings}.position_embeddings.weight`,
        [config.max_position_embeddings, hidden],
      ],
      [
        `${embeddings}.token_type_embeddings.weight`,
        [config.type_vocab_size, hidden],
      ],
      ...normShapes(`${embeddings}.LayerNorm`, hidden),
      ...Array.from({ length: layers }, (_, i) => {
        const layer = `${prefix}.encoder.layer.${i}`;
        return [
          ...linearShapes(`${layer}.attention.self.query`, hidden, hidden),
          ...linearShapes(`${layer}.attention.self.key`, hidden, hidden),
          ...linearShapes(`${layer}.attention.self.value`, hidden, hidden),
          ...linearShapes(`${layer}.attention.output.dense`, hidden, hidden),
          ...normShapes(`${layer}.attention.output.LayerNorm`, hidden),
          ...linearShapes(
            `${layer}.intermediate.dense`,
            hidden,
            config.intermediate_size,
          ),
          ...linearShapes(
            `${layer}.output.dense`,
            config.intermediate_size,
            hidden,
          ),
          ...normShapes(`${layer}.output.LayerNorm`, hidden),
        ];
      }).flat(),
    ]),
  };
}

/** BERT's encoder, post-norm. Of the last layer only what the head reads is computed. */
export function encode<T>(m: Pass<T>, prefix: string, config: BertConfig): T {
  const hiddenDropout = config.hidden_dropout_prob;
  const norm = (name: string): Norm => ({
    name,
    epsilon: config.layer_norm_eps,
  });
  const embeddings = `${prefix}.embeddings`;
  let x = m.embed(
    [
      [`${embeddings}.word_embeddings`, "ids"],
      [`${embeddings}.token_type_embeddings`, "types"],
      [`${embeddings}.position_embeddings`, "positions"],
    ],
    norm(`${embeddings}.LayerNorm`),
    hiddenDropout,
  );
  m.observe(x);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `${prefix}.encoder.layer.${i}`;
    const [query, key, value] = ["query", "key", "value"].map((part) =>
      `${layer}.attention.self.${part}`
    ) as [string, string, string];
    const heads = config.num_attention_heads;
    const read = i === config.num_hidden_layers - 1 ? m.read(x) : x;
    const [q, k, v] = (read === x ? m.heads([query, key, value], x, heads) : [
      ...m.heads([query], read, heads),
      ...m.heads([key, value], x, heads),
    ]) as [T, T, T];
    const attended = m.addNorm(
      `${layer}.attention.output.dense`,
      m.attention(q, k, v, config.attention_probs_dropout_prob),
      read,
      norm(`${layer}.attention.output.LayerNorm`),
      hiddenDropout,
    );
    x = m.addNorm(
      `${layer}.output.dense`,
      m.gelu(`${layer}.intermediate.dense`, attended),
      attended,
      norm(`${layer}.output.LayerNorm`),
      hiddenDropout,
    );
    m.observe(x);
  }
  return x;
}
