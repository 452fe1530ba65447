import * as z from "zod";
import type {
  TokenizerOptions,
  TokenizerPart,
} from "../../text/tokenizer_files.ts";
import {
  bertAttention,
  BertConfig,
  bertEmbeddings,
  bertHead,
  bertSizes,
  tokensHead,
} from "./bert.ts";
import { count, rate } from "./config.ts";
import { type Architecture, inLayers, type Pass, type Read } from "./model.ts";

/**
 * ALBERT (arXiv 1909.11942), as transformers' `AlbertForSequenceClassification`
 * computes it: BERT on narrower embeddings, with layers that share their
 * weights.
 */
export const albert: Architecture = {
  type: "albert",
  className: "Albert",
  prefix: "albert",
  targetModules: ["query", "value"],
  tokenizer: {
    class: "AlbertTokenizer",
    classes: {
      AlbertTokenizer: {
        types: false,
        sets: { part: "normalizer", value: normalizer },
      },
    },
    pairType: 1,
  },
  configure(json) {
    const config = AlbertConfig.parse(json);
    return {
      ...bertSizes(config),
      layers: config.num_hidden_layers * config.inner_group_num,
      encoder: (m, read) => encode(m, config, read),
      heads: {
        sequence: bertHead("albert.pooler", config.classifier_dropout_prob),
        tokens: tokensHead(config.classifier_dropout_prob),
      },
    };
  },
};

const AlbertConfig = BertConfig.safeExtend({
  embedding_size: count.default(128),
  num_hidden_groups: count.default(1),
  inner_group_num: count.default(1),
  hidden_act: z.enum(["gelu", "gelu_new"]).default("gelu_new"),
  hidden_dropout_prob: rate.default(0),
  attention_probs_dropout_prob: rate.default(0),
  classifier_dropout_prob: rate.default(0.1),
}).refine((it) => it.num_hidden_groups <= it.num_hidden_layers, {
  path: ["num_hidden_groups"],
  error: "Expected at most num_hidden_layers",
});

type AlbertConfig = z.output<typeof AlbertConfig>;

function encode<T>(m: Pass<T>, config: AlbertConfig, read?: Read<T>): T {
  const { inner_group_num: inner, num_hidden_layers: outer } = config;
  const embeddings = m.linear(
    "albert.encoder.embedding_hidden_mapping_in",
    bertEmbeddings(m, "albert.embeddings", config, config.embedding_size),
    { width: config.hidden_size },
  );
  return inLayers(m, outer * inner, embeddings, (i, x) => {
    const group = Math.trunc(
      Math.trunc(i / inner) / (outer / config.num_hidden_groups),
    );
    const groups = "albert.encoder.albert_layer_groups";
    const layer = `${groups}.${group}.albert_layers.${i % inner}`;
    const attention = `${layer}.attention`;
    const names = { self: attention, output: attention };
    const attended = bertAttention(m, names, x, config);
    const wide = m.activate(
      m.linear(`${layer}.ffn`, attended, { width: config.intermediate_size }),
      config.hidden_act,
    );
    const narrow = m.linear(`${layer}.ffn_output`, wide, {
      width: config.hidden_size,
    });
    return m.norm(`${layer}.full_layer_layer_norm`, [narrow, attended], {
      epsilon: config.layer_norm_eps,
    });
  }, read);
}

/** What transformers makes of the options, before the map of characters. */
function normalizer(
  part: TokenizerPart,
  { keep_accents, do_lower_case }: TokenizerOptions,
): TokenizerPart {
  const quotes = ["``", "''"].map((quote) => (
    { type: "Replace", pattern: { String: quote }, content: '"' }
  ));
  const parts = (part?.normalizers ?? []) as readonly { type: string }[];
  const normalizers = [
    ...quotes,
    ...(keep_accents ? [] : [{ type: "NFKD" }, { type: "StripAccents" }]),
    ...(do_lower_case ?? true ? [{ type: "Lowercase" }] : []),
    ...parts.filter(({ type }) => type === "Precompiled"),
  ];
  return { type: "Sequence", normalizers };
}
