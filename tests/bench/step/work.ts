import type { HeadName } from "../../../lib/engine/models/model.ts";

/** A model to work on: fields of a Hugging Face `config.json`. */
export interface Model {
  readonly name: string;
  readonly config: Readonly<Record<string, string | number | boolean>>;
}

/** One shape that is timed. */
export interface Shape {
  readonly model: Model;
  readonly batch: number;
  readonly length: number;
  /** True if the evaluation of all ranks is timed too. */
  readonly evaluated: boolean;
  /**
   * Head that is trained or, of a language model, frozen; that of sequences by
   * default. With `embedding`, an example is a pair of texts, and the mean of
   * the tokens is the embedding.
   */
  readonly head?: HeadName;
}

/** BERT's names for sizes, which most architectures share. */
function sizes(
  vocab: number,
  hidden: number,
  layers: number,
  heads: number,
  intermediate: number,
) {
  return {
    vocab_size: vocab,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    intermediate_size: intermediate,
  };
}

const robertaFields = {
  model_type: "roberta",
  max_position_embeddings: 514,
  type_vocab_size: 1,
  layer_norm_eps: 1e-5,
  pad_token_id: 1,
};
const tiny: Model = {
  name: "tiny",
  config: { ...robertaFields, ...sizes(1000, 128, 2, 2, 512) },
};
const minilm: Model = {
  name: "minilm",
  config: {
    ...sizes(30522, 384, 6, 12, 1536),
    model_type: "bert",
    max_position_embeddings: 514,
    type_vocab_size: 2,
    layer_norm_eps: 1e-5,
    pad_token_id: 0,
  },
};
const roberta: Model = {
  name: "roberta-base",
  config: { ...robertaFields, ...sizes(50265, 768, 12, 12, 3072) },
};
const mpnet: Model = {
  name: "mpnet-base",
  config: {
    ...sizes(30527, 768, 12, 12, 3072),
    model_type: "mpnet",
    max_position_embeddings: 514,
    layer_norm_eps: 1e-5,
    relative_attention_num_buckets: 32,
    pad_token_id: 1,
  },
};
const modernbert: Model = {
  name: "modernbert-base",
  config: {
    ...sizes(50368, 768, 22, 12, 1152),
    model_type: "modernbert",
    max_position_embeddings: 8192,
    classifier_pooling: "mean",
    pad_token_id: 50283,
  },
};
const deberta: Model = {
  name: "deberta-v3-base",
  config: {
    ...sizes(128100, 768, 12, 12, 3072),
    model_type: "deberta-v2",
    max_position_embeddings: 512,
    type_vocab_size: 0,
    layer_norm_eps: 1e-7,
    relative_attention: true,
    position_biased_input: false,
    position_buckets: 256,
    pos_att_type: "p2c|c2p",
    share_att_key: true,
    norm_rel_ebd: "layer_norm",
    pad_token_id: 0,
  },
};
const smollm: Model = {
  name: "smollm2-135m",
  config: {
    ...sizes(49152, 576, 30, 9, 1536),
    model_type: "llama",
    num_key_value_heads: 3,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 100_000,
    tie_word_embeddings: true,
    pad_token_id: 2,
  },
};

/** What is timed, in the order of the table. */
export const shapes: readonly Shape[] = [
  { model: tiny, batch: 16, length: 32, evaluated: true },
  { model: minilm, batch: 32, length: 13, evaluated: false },
  { model: minilm, batch: 32, length: 64, evaluated: true },
  { model: minilm, batch: 32, length: 64, evaluated: true, head: "tokens" },
  { model: minilm, batch: 64, length: 32, evaluated: false, head: "embedding" },
  { model: roberta, batch: 16, length: 64, evaluated: true },
  { model: roberta, batch: 32, length: 128, evaluated: false },
  { model: roberta, batch: 8, length: 512, evaluated: false },
  { model: mpnet, batch: 16, length: 64, evaluated: false },
  { model: modernbert, batch: 16, length: 64, evaluated: false },
  { model: modernbert, batch: 4, length: 512, evaluated: false },
  { model: modernbert, batch: 1, length: 2048, evaluated: false },
  { model: modernbert, batch: 1, length: 8192, evaluated: false },
  { model: deberta, batch: 16, length: 64, evaluated: false },
  { model: smollm, batch: 16, length: 64, evaluated: true },
  { model: smollm, batch: 8, length: 64, evaluated: false, head: "language" },
];

/** Ranks at which evaluations are timed. */
export const RANKS = [1, 2, 3, 4, 5, 6, 7, 8];

/** `roberta-base 16x64`, `minilm 32x64 tokens` */
export function nameOf({ model, batch, length, head }: Shape): string {
  return `${model.name} ${batch}x${length}${head ? ` ${head}` : ""}`;
}
