import * as z from "zod";
import { tokensHead } from "./bert.ts";
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
import { type Architecture, inLayers, type Pass, type Read } from "./model.ts";

/**
 * Llama (arXiv 2302.13971) and its relatives, as transformers'
 * `...ForSequenceClassification` and `...ForCausalLM` compute them: a decoder
 * with pre-norm layers, rotary positions, SwiGLU and several heads of the query
 * to one of keys and values; the head of a sequence reads the last token that
 * is not padding. SmolLM is a Llama.
 */
export const llama = member("llama", "Llama", (config) => ({
  bias: config.attention_bias,
}));

/**
 * Mistral (arXiv 2310.06825): each token attends to the last `sliding_window`,
 * itself among them.
 */
export const mistral = member("mistral", "Mistral", (config) => ({
  window: () =>
    config.sliding_window === undefined ? 4096 : config.sliding_window,
}));

/** Qwen2 (arXiv 2407.10671): with biases of queries, keys and values. */
export const qwen2 = member("qwen2", "Qwen2", (config) => ({
  bias: true,
  outputBias: false,
  window: (i) => qwenWindow(config, i),
}));

/** Qwen3 (arXiv 2505.09388): queries and keys are normalized. */
export const qwen3 = member("qwen3", "Qwen3", (config) => ({
  bias: config.attention_bias,
  normalizes: true,
  depth: 128,
  window: (i) => qwenWindow(config, i),
}));

/** The table of the tokens, which may be that of the language head as well. */
const EMBEDDINGS = "model.embed_tokens";

/**
 * How the attention of a member of the family differs from Mistral's without a
 * window.
 */
interface Attention {
  /** Whether its modules have a bias. */
  readonly bias?: boolean;
  /**
   * Whether the output has one, if that differs from queries, keys and values.
   */
  readonly outputBias?: boolean;
  /** Whether queries and keys are normalized. */
  readonly normalizes?: boolean;
  /** Width of a head where the configuration does not say it. */
  readonly depth?: number;
  /**
   * Tokens that a token of layer i attends to, itself among them; null for all.
   */
  window?(i: number): number | null;
}

function member(
  type: string,
  name: string,
  attentionOf: (config: Config) => Attention,
): Architecture {
  return {
    type,
    className: name,
    prefix: "model",
    targetModules: ["q_proj", "v_proj"],
    tokenizer: {
      class: "PreTrainedTokenizerFast",
      pairType: 0,
      isFree: true,
    },
    configure(json) {
      const config = Config.parse(json);
      const padToken = config.pad_token_id ?? undefined;
      return {
        ...sizesOf(config),
        padId: padToken ?? 0,
        encoder: (m, read) => decode(m, config, attentionOf(config), read),
        heads: {
          sequence: {
            read: (m, x) => m.last(x, padToken),
            logits: (m, last, outputs) =>
              m.logits("score", last, outputs, { bias: false }),
          },
          // The rate of transformers where the configuration has none, as those
          // of these models.
          tokens: tokensHead(
            config.classifier_dropout ?? config.hidden_dropout ?? 0.1,
            "score",
          ),
          language: {
            isFrozen: true,
            logits: (m, x) =>
              m.vocabulary(
                config.tie_word_embeddings ? EMBEDDINGS : "lm_head",
                x,
                [config.vocab_size, config.hidden_size],
              ),
          },
        },
      };
    },
  };
}

/** Fields of `config.json` that each kind of rotary positions needs. */
const SCALED = {
  default: [],
  linear: ["factor"],
  llama3: ["factor", "low_freq_factor", "high_freq_factor"],
} as const;

const RopeType = z.enum(["default", "linear", "llama3"]);
const factor = z.number().positive().optional();

const Rope = z.looseObject({
  rope_type: RopeType.optional(),
  /** Its older name. */
  type: RopeType.optional(),
  rope_theta: factor,
  factor,
  low_freq_factor: factor,
  high_freq_factor: factor,
  original_max_position_embeddings: count.optional(),
  partial_rotary_factor: z.literal(1).default(1),
}).superRefine((rope, { addIssue }) => {
  for (const field of SCALED[rope.rope_type ?? rope.type ?? "default"]) {
    if (rope[field] !== undefined) continue;
    addIssue({ code: "custom", path: [field], message: "Expected a number" });
  }
});

const Config = z.looseObject({
  classifier_dropout: rate.nullish(),
  hidden_dropout: rate.nullish(),
  ...SIZES,
  num_key_value_heads: count.nullish(),
  head_dim: count.multipleOf(2).nullish(),
  pad_token_id: padToken.nullish(),
  rms_norm_eps: epsilon.default(1e-6),
  hidden_act: z.literal("silu").default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  attention_dropout: rate.nullish(),
  rope_theta: factor,
  rope_parameters: Rope.nullish(),
  rope_scaling: Rope.nullish(),
  partial_rotary_factor: z.literal(1).default(1),
  sliding_window: count.nullish(),
  use_sliding_window: z.boolean().default(false),
  max_window_layers: z.int().min(0).default(28),
  layer_types: z.array(LayerType).nullish(),
}).superRefine(ofEveryLayer).superRefine((config, context) => {
  const { num_attention_heads: heads, num_key_value_heads: shared } = config;
  multipleOf("num_attention_heads", "num_key_value_heads")(
    { num_attention_heads: heads, num_key_value_heads: shared ?? heads },
    context,
  );
  if (config.head_dim != null) return;
  multipleOf("hidden_size", "num_attention_heads", 2)(config, context);
});

type Config = z.output<typeof Config>;

/** The window of a layer of Qwen, which has one in some layers if at all. */
function qwenWindow(config: Config, i: number): number | null {
  const { sliding_window: window = 4096, layer_types: types } = config;
  const isSliding = types == null
    ? i >= config.max_window_layers
    : types[i] === "sliding_attention";
  return config.use_sliding_window && isSliding ? window : null;
}

/**
 * Frequencies of the rotary positions, scaled as `rope_parameters` or, in the
 * older form, `rope_scaling` says.
 */
function frequenciesOf(config: Config, depth: number): Float32Array {
  const rope: Partial<z.output<typeof Rope>> = config.rope_scaling ??
    config.rope_parameters ?? {};
  const theta = rope.rope_theta ?? config.rope_theta ?? 10_000;
  const frequencies = rotaryFrequencies(theta, depth);
  const { factor = 1, low_freq_factor: low, high_freq_factor: high } = rope;
  switch (rope.rope_type ?? rope.type) {
    case "linear":
      return frequencies.map((it) => it / factor);
    case "llama3": {
      const trainedPositions = rope.original_max_position_embeddings ??
        config.max_position_embeddings;
      // Those that turn less than `low` times within the positions that the
      // model was trained on are divided, those that turn more than `high`
      // times are not.
      return frequencies.map((it) => {
        const turns = trainedPositions * it / (2 * Math.PI);
        const kept = Math.min(1, Math.max(0, (turns - low!) / (high! - low!)));
        return (1 - kept) * it / factor + kept * it;
      });
    }
    default:
      return frequencies;
  }
}

function decode<T>(
  m: Pass<T>,
  config: Config,
  attention: Attention,
  read?: Read<T>,
): T {
  const { hidden_size: hidden, num_attention_heads: heads } = config;
  const shared = config.num_key_value_heads ?? heads;
  const { bias = false, outputBias = bias } = attention;
  const depth = config.head_dim ?? attention.depth ?? hidden / heads;
  const frequencies = frequenciesOf(config, depth);
  const norm = (name: string, x: T, width?: number) =>
    m.norm(name, [x], { form: "rms", epsilon: config.rms_norm_eps, width });
  const embeddings = m.embed(EMBEDDINGS, "ids", [
    config.vocab_size,
    hidden,
  ]);
  const y = inLayers(m, config.num_hidden_layers, embeddings, (i, x) => {
    const layer = `model.layers.${i}`;
    const self = `${layer}.self_attn`;
    const normed = norm(`${layer}.input_layernorm`, x);
    const [query, key, value] = m.heads(
      [`${self}.q_proj`, `${self}.k_proj`, `${self}.v_proj`],
      normed,
      [heads, shared, shared],
      { depth, bias },
    );
    const turned = (name: string, x: T) =>
      m.rotary(
        attention.normalizes ? norm(`${self}.${name}_norm`, x, depth) : x,
        frequencies,
      );
    const window = attention.window?.(i) ?? Infinity;
    const context = m.attention(turned("q", query), turned("k", key), value, {
      dropout: config.attention_dropout ?? 0,
      causal: true,
      window: window === Infinity ? undefined : window - 1,
    });
    const attended = m.add(
      m.linear(`${self}.o_proj`, context, { width: hidden, bias: outputBias }),
      x,
    );
    const mlp = `${layer}.mlp`;
    const inner = m.glu(
      m.linear(
        [`${mlp}.gate_proj`, `${mlp}.up_proj`],
        norm(`${layer}.post_attention_layernorm`, attended),
        { width: config.intermediate_size, bias: config.mlp_bias },
      ),
      "silu",
    );
    const outer = { width: hidden, bias: config.mlp_bias };
    return m.add(m.linear(`${mlp}.down_proj`, inner, outer), attended);
  }, read);
  return norm("model.norm", y);
}
