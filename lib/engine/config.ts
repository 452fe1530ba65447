import { z } from "zod";

/** Shape of an encoder, and the rates of its dropouts. */
export interface EncoderConfig {
  readonly architecture: "bert" | "roberta";
  readonly vocabSize: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  /** Rows of the position table. */
  readonly positions: number;
  readonly types: number;
  readonly padId: number;
  readonly layerNormEpsilon: number;
  readonly hiddenDropout: number;
  readonly attentionDropout: number;
  readonly classifierDropout: number;
}

const count = z.int().min(1).max(1 << 20);
const rate = z.number().min(0).lt(1);

const huggingFace = z.looseObject({
  model_type: z.enum(["bert", "roberta"]),
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
});

/**
 * Reads the text of a Hugging Face `config.json`.
 *
 * @throws {SyntaxError} If it is not JSON, or not an encoder that the engine computes; names every fault.
 */
export function parseEncoderConfig(text: string): EncoderConfig {
  const parsed = huggingFace.safeParse(parseJson(text));
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) =>
      `"${path.join(".")}": ${message}`
    );
    throw new SyntaxError(
      `config.json does not describe a BERT or RoBERTa encoder: ${
        faults.join("; ")
      }`,
    );
  }
  const config = parsed.data;
  if (config.hidden_size % config.num_attention_heads !== 0) {
    throw new SyntaxError(
      `config.json: hidden_size ${config.hidden_size} is not a multiple of num_attention_heads ${config.num_attention_heads}`,
    );
  }
  return {
    architecture: config.model_type,
    vocabSize: config.vocab_size,
    hidden: config.hidden_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    intermediate: config.intermediate_size,
    positions: config.max_position_embeddings,
    types: config.type_vocab_size,
    padId: config.pad_token_id ?? (config.model_type === "roberta" ? 1 : 0),
    layerNormEpsilon: config.layer_norm_eps,
    hiddenDropout: config.hidden_dropout_prob,
    attentionDropout: config.attention_probs_dropout_prob,
    classifierDropout: config.classifier_dropout ?? config.hidden_dropout_prob,
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(
      `config.json is not JSON: ${(error as SyntaxError).message}`,
      {
        cause: error,
      },
    );
  }
}

/** Longest input that the position table allows, in tokens. */
export function maxTokens(
  { architecture, positions, padId }: EncoderConfig,
): number {
  return architecture === "roberta" ? positions - padId - 1 : positions;
}
