import * as z from "zod";
import {
  BertConfig,
  bertEmbeddings,
  bertFeedForward,
  bertOutput,
  bertSizes,
  tokensHead,
} from "./bert.ts";
import { count, epsilon, logShare, rate } from "./config.ts";
import { type Architecture, inLayers, type Pass, type Read } from "./model.ts";

/**
 * DeBERTa-v2 and v3 (arXiv 2006.03654, 2111.09543), as transformers'
 * `DebertaV2ForSequenceClassification` computes it: BERT's layers with
 * disentangled attention. Position keys and queries are projected by the
 * modules of the contents.
 */
export const debertaV2: Architecture = {
  type: "deberta-v2",
  className: "DebertaV2",
  prefix: "deberta",
  targetModules: ["query_proj", "value_proj"],
  tokenizer: {
    class: "DebertaV2Tokenizer",
    classes: { DebertaV2Tokenizer: { types: true } },
    pairType: 1,
  },
  configure(json) {
    const config = DebertaConfig.parse(json);
    return {
      ...bertSizes(config),
      encoder: (m, read) => encode(m, config, read),
      heads: {
        sequence: {
          read: (m, x) => m.first(x),
          logits(m, x, outputs) {
            const first = m.dropout(x, config.pooler_dropout);
            const pooled = m.activate(m.linear("pooler.dense", first), "gelu");
            const dropout = config.cls_dropout ?? config.hidden_dropout_prob;
            return m.logits("classifier", m.dropout(pooled, dropout), outputs);
          },
        },
        tokens: tokensHead(config.hidden_dropout_prob),
      },
    };
  },
};

const Terms = z.preprocess(
  (value) =>
    typeof value === "string"
      ? value.toLowerCase().split("|").map((term) => term.trim())
      : value,
  z.array(z.enum(["c2p", "p2c"])).min(1),
);

const DebertaConfig = BertConfig.safeExtend({
  type_vocab_size: z.int().min(0).max(1 << 20).default(0),
  layer_norm_eps: epsilon.default(1e-7),
  relative_attention: z.literal(true),
  position_biased_input: z.boolean().default(true),
  pos_att_type: Terms,
  share_att_key: z.literal(true),
  norm_rel_ebd: z.string().toLowerCase().default("none")
    .transform((it) => it.split("|").map((kind) => kind.trim())),
  position_buckets: z.int().min(-1).max(1 << 20).default(-1),
  max_relative_positions: z.int().min(-1).max(1 << 20).default(-1),
  conv_kernel_size: z.literal(0).default(0),
  pooler_dropout: rate.default(0),
  pooler_hidden_act: z.literal("gelu").default("gelu"),
  cls_dropout: rate.nullish(),
  embedding_size: count.optional(),
  pooler_hidden_size: count.optional(),
}).superRefine((config, { addIssue }) => {
  for (const name of ["embedding_size", "pooler_hidden_size"] as const) {
    const size = config[name] ?? config.hidden_size;
    if (size === config.hidden_size) continue;
    addIssue({
      code: "custom",
      path: [name],
      message: `Expected hidden_size (${config.hidden_size}), got ${size}`,
    });
  }
});

type DebertaConfig = z.output<typeof DebertaConfig>;

function encode<T>(m: Pass<T>, config: DebertaConfig, read?: Read<T>): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const { hidden_dropout_prob: dropout, pos_att_type: terms } = config;
  const x = bertEmbeddings(m, "deberta.embeddings", {
    ...config,
    ...(!config.position_biased_input && { max_position_embeddings: 0 }),
  });
  const { rows, buckets } = bucketRows(config, m.tokens);
  const table = m.rows("deberta.encoder.rel_embeddings", buckets, [
    2 * spanOf(config),
    hidden,
  ]);
  const relative = config.norm_rel_ebd.includes("layer_norm")
    ? m.norm("deberta.encoder.LayerNorm", [table], {
      epsilon: config.layer_norm_eps,
    })
    : table;
  return inLayers(m, config.num_hidden_layers, x, (i, x) => {
    const layer = `deberta.encoder.layer.${i}`;
    const self = `${layer}.attention.self`;
    const [query, key, value] = m.heads(
      [`${self}.query_proj`, `${self}.key_proj`, `${self}.value_proj`],
      x,
      heads,
    );
    const positions = m.dropout(relative, dropout);
    const project = (module: string) =>
      m.heads([`${self}.${module}`], positions, heads)[0];
    const bias = m.disentangle(query, key, {
      rows,
      query: terms.includes("p2c") ? project("query_proj") : undefined,
      key: terms.includes("c2p") ? project("key_proj") : undefined,
    });
    const context = m.attention(query, key, value, {
      dropout: config.attention_probs_dropout_prob,
      scale: 1 / Math.sqrt(hidden / heads * (1 + terms.length)),
      bias,
    });
    const output = `${layer}.attention.output`;
    const attended = bertOutput(m, output, context, x, config);
    return bertFeedForward(m, layer, attended, config);
  }, read);
}

/**
 * Rows of the table of relative positions that sequences of some length need,
 * and for each distance between two tokens which of them it has.
 */
function bucketRows(
  config: DebertaConfig,
  tokens: number,
): { readonly rows: readonly number[]; readonly buckets: readonly number[] } {
  const span = spanOf(config);
  const ofDistance = Array.from({ length: 2 * tokens - 1 }, (_, i) => {
    const bucket = bucketOf(config, i - (tokens - 1)) + span;
    return Math.min(Math.max(bucket, 0), 2 * span - 1);
  });
  const first = ofDistance[0]!;
  const buckets = Array.from(
    { length: ofDistance.at(-1)! - first + 1 },
    (_, i) => first + i,
  );
  return { rows: ofDistance.map((bucket) => bucket - first), buckets };
}

/**
 * Bucket of a distance, query minus key: near ones exactly, far ones
 * logarithmically.
 */
function bucketOf(config: DebertaConfig, distance: number): number {
  const { position_buckets: buckets } = config;
  const mid = Math.floor(buckets / 2);
  const size = Math.abs(distance);
  if (buckets <= 0 || size <= mid) return distance;
  const share = logShare(size, mid, maxDistance(config) - 1);
  const far = mid + Math.ceil(Math.fround(share * (mid - 1)));
  return Math.sign(distance) * far;
}

function maxDistance(config: DebertaConfig): number {
  const { max_relative_positions: distance } = config;
  return distance < 1 ? config.max_position_embeddings : distance;
}

/** Half of the rows of the table of relative positions. */
function spanOf(config: DebertaConfig): number {
  const { position_buckets: buckets } = config;
  return buckets > 0 ? buckets : maxDistance(config);
}
