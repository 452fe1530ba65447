import { z } from "zod";
import {
  BertConfig,
  count,
  encodeLayer,
  epsilon,
  type LayerNames,
  layerShapes,
  rate,
} from "./bert.ts";
import {
  type Architecture,
  countedPositions,
  headDense,
  headLinear,
  type Index,
  type Model,
  normShapes,
  type Pass,
} from "./model.ts";

/**
 * DeBERTa-v2 and v3 (arXiv 2006.03654, 2111.09543), as transformers'
 * `DebertaV2ForSequenceClassification` computes it: BERT's layers with
 * disentangled attention. Position keys and queries are projected by the
 * modules of the contents.
 */
export const debertaV2: Architecture = {
  type: "deberta-v2",
  classifierClass: "DebertaV2ForSequenceClassification",
  tokenizerClass: "DebertaV2Tokenizer",
  prefix: "deberta",
  pairType: 1,
  targetModules: ["query_proj", "value_proj"],
  head: (hidden, labels) => [
    // Only classifiers, such as those for NLI, are saved with a pooler.
    ...headDense("pooler.dense", hidden),
    ...headLinear("classifier", hidden, labels),
  ],
  configure(json): Model {
    const config = DebertaConfig.parse(json);
    const { hidden_size: hidden, num_hidden_layers: layers } = config;
    const rows = config.max_position_embeddings;
    const tables = tablesOf(config);
    return {
      architecture: debertaV2,
      layers,
      hidden,
      vocabSize: config.vocab_size,
      padId: config.pad_token_id ?? 0,
      maxLength: rows,
      tensors: new Map([
        ...tables.map(([name, , size]): [string, number[]] => [
          `${name}.weight`,
          [size, hidden],
        ]),
        ...normShapes(`${EMBEDDINGS}.LayerNorm`, hidden),
        [`${RELATIVE}.weight`, [2 * spanOf(config), hidden]],
        ...(isNormed(config) ? normShapes(RELATIVE_NORM, hidden) : []),
        ...Array.from(
          { length: layers },
          (_, i) => layerShapes(namesOf(i), hidden, config.intermediate_size),
        ).flat(),
      ]),
      positions: (_ids, batch, seq) => countedPositions(batch, seq, rows),
      forward: (m) => {
        const first = m.first(encode(m, config));
        const pooled = m.gelu(
          "pooler.dense",
          m.dropout(first, config.pooler_dropout),
        );
        const dropout = config.cls_dropout ?? config.hidden_dropout_prob;
        return m.linear("classifier", m.dropout(pooled, dropout));
      },
    };
  },
};

const EMBEDDINGS = "deberta.embeddings";
const RELATIVE = "deberta.encoder.rel_embeddings";
const RELATIVE_NORM = "deberta.encoder.LayerNorm";

/** The encoder. Only the part of the last layer that the head reads is computed. */
function encode<T>(m: Pass<T>, config: DebertaConfig): T {
  const {
    num_hidden_layers: layers,
    num_attention_heads: heads,
    layer_norm_eps: epsilon,
    hidden_dropout_prob: dropout,
    pos_att_type: terms,
  } = config;
  let x = m.embed(
    tablesOf(config).map(([name, index]) => [name, index] as const),
    { name: `${EMBEDDINGS}.LayerNorm`, epsilon },
    dropout,
  );
  m.observe(x);
  const { rows, buckets } = bucketRows(config, m.tokens);
  const table = m.rows(RELATIVE, buckets);
  const relative = isNormed(config)
    ? m.norm(table, { name: RELATIVE_NORM, epsilon })
    : table;
  const depth = config.hidden_size / heads;
  for (let i = 0; i < layers; i++) {
    const names = namesOf(i);
    x = encodeLayer(m, names, x, {
      heads,
      isLast: i === layers - 1,
      epsilon,
      attention: (query, key) => {
        const positions = m.dropout(relative, dropout);
        const project = (module: string) =>
          m.heads([module], positions, heads)[0]!;
        return {
          dropout: config.attention_probs_dropout_prob,
          scale: 1 / Math.sqrt(depth * (1 + terms.length)),
          bias: m.disentangle(query, key, {
            rows,
            query: terms.includes("p2c") ? project(names.query) : undefined,
            key: terms.includes("c2p") ? project(names.key) : undefined,
          }),
        };
      },
      attentionDropout: dropout,
      dropout,
    });
  }
  return x;
}

/** Tables of the embeddings: name, what rows go by, and rows. */
function tablesOf(
  config: DebertaConfig,
): (readonly [name: string, index: Index, rows: number])[] {
  const all = [
    ["word_embeddings", "ids", config.vocab_size],
    [
      "position_embeddings",
      "positions",
      config.position_biased_input ? config.max_position_embeddings : 0,
    ],
    ["token_type_embeddings", "types", config.type_vocab_size],
  ] as const;
  return all.filter(([, , rows]) => rows > 0)
    .map(([name, index, rows]) => [`${EMBEDDINGS}.${name}`, index, rows]);
}

function namesOf(index: number): LayerNames {
  const layer = `deberta.encoder.layer.${index}`;
  return {
    query: `${layer}.attention.self.query_proj`,
    key: `${layer}.attention.self.key_proj`,
    value: `${layer}.attention.self.value_proj`,
    attentionOutput: `${layer}.attention.output.dense`,
    attentionNorm: `${layer}.attention.output.LayerNorm`,
    intermediate: `${layer}.intermediate.dense`,
    output: `${layer}.output.dense`,
    norm: `${layer}.output.LayerNorm`,
  };
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

/** Bucket of a distance, query minus key: near ones exactly, far ones logarithmically. */
function bucketOf(config: DebertaConfig, distance: number): number {
  const { position_buckets: buckets } = config;
  const mid = Math.floor(buckets / 2);
  const size = Math.abs(distance);
  if (buckets <= 0 || size <= mid) return distance;
  // In float32 as PyTorch has it: distances at the edge of a bucket depend on the rounding.
  const { fround, log } = Math;
  const share = fround(
    fround(log(fround(size / mid))) /
      fround(log(fround((maxDistance(config) - 1) / mid))),
  );
  return Math.sign(distance) *
    (Math.ceil(fround(share * (mid - 1))) + mid);
}

function maxDistance(config: DebertaConfig): number {
  const { max_relative_positions: given } = config;
  return given < 1 ? config.max_position_embeddings : given;
}

/** Half of the rows of the table of relative positions. */
function spanOf(config: DebertaConfig): number {
  const { position_buckets: buckets } = config;
  return buckets > 0 ? buckets : maxDistance(config);
}

function isNormed({ norm_rel_ebd }: DebertaConfig): boolean {
  return norm_rel_ebd.split("|").some((it) => it.trim() === "layer_norm");
}

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
  norm_rel_ebd: z.string().toLowerCase().default("none"),
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
