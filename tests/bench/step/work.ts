/** A model to work on: fields of a Hugging Face `config.json`. */
export interface Model {
  readonly name: string;
  readonly config: Readonly<Record<string, string | number>>;
}

/** One shape that is timed. */
export interface Shape {
  readonly model: Model;
  readonly batch: number;
  readonly length: number;
  /** True if the evaluation of all ranks is timed too. */
  readonly evaluated: boolean;
}

function model(
  name: string,
  type: "bert" | "roberta",
  [vocab, hidden, layers, heads, intermediate]: readonly [
    number,
    number,
    number,
    number,
    number,
  ],
): Model {
  return {
    name,
    config: {
      model_type: type,
      vocab_size: vocab,
      hidden_size: hidden,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      intermediate_size: intermediate,
      max_position_embeddings: 514,
      type_vocab_size: type === "bert" ? 2 : 1,
      layer_norm_eps: 1e-5,
      pad_token_id: type === "bert" ? 0 : 1,
    },
  };
}

const roberta = model("roberta-base", "roberta", [50265, 768, 12, 12, 3072]);
const minilm = model("minilm", "bert", [30522, 384, 6, 12, 1536]);
const tiny = model("tiny", "roberta", [1000, 128, 2, 2, 512]);

/** What is timed, in the order of the table. */
export const shapes: readonly Shape[] = [
  { model: tiny, batch: 16, length: 32, evaluated: true },
  { model: minilm, batch: 32, length: 64, evaluated: true },
  { model: roberta, batch: 16, length: 64, evaluated: true },
  { model: roberta, batch: 32, length: 128, evaluated: false },
];

/** `roberta-base 16x64` */
export function nameOf({ model, batch, length }: Shape): string {
  return `${model.name} ${batch}x${length}`;
}
