/**
 * Embeddings of texts by a sentence encoder of ONNX and an adapter, at any of
 * its ranks: what `deno task export PIPELINE STAGE --to onnx` writes of an
 * adapter for pairs of texts. Runs in Deno, in Node.js and in browsers, with
 * onnxruntime-web and @huggingface/tokenizers.
 *
 * ```ts
 * const embed = await load("./search-onnx", { rank: 3 });
 * const [query, ...lines] = await embed(["Where is it?", "Here.", "Now."]);
 * console.log(ranking(query, lines));
 * ```
 */
import {
  type CallOptions,
  checkedRank,
  loadAdapter,
  type LoadedModel,
  loadModel,
  type LoadOptions,
  outputsOf,
  type Runtime,
} from "./session.ts";

export type { CallOptions, LoadOptions, Runtime };

/** A sentence encoder with an adapter. */
export interface Embed {
  /**
   * Embeds texts, in their order.
   *
   * @returns For each text as many values as the model has hidden ones,
   * normalized if the model says so
   * @throws {RangeError} If the adapter does not serve the rank, or a text is
   * too long to be meant.
   */
  (
    texts: readonly string[],
    options?: CallOptions,
  ): Promise<Float32Array[]>;
  /** Ranks that the adapter serves, ascending. */
  readonly ranks: readonly number[];
  /** The same model, not loaded again, with another adapter. */
  with(
    adapter: string | URL,
    options?: Pick<LoadOptions, "rank">,
  ): Promise<Embed>;
  /** Frees the model; it and all adapters on it cannot be used afterwards. */
  release(): Promise<void>;
}

/**
 * Loads an exported folder.
 *
 * @param folder Its path or URL; in browsers, URLs are relative to the page
 * @throws {Error} If a file is missing or of another model, the adapter gives
 * no embeddings, or this machine cannot run the model.
 */
export async function load(
  folder: string | URL,
  options: LoadOptions = {},
): Promise<Embed> {
  const model = await loadModel(folder, options);
  return await embedder(model, options.adapter ?? folder, options.rank);
}

async function embedder(
  model: LoadedModel,
  folder: string | URL,
  rank: number | undefined,
): Promise<Embed> {
  const adapter = await loadAdapter(model, folder);
  const { normalizes, maxLength } = adapter.file;
  if (normalizes === undefined) {
    throw new Error(
      `The adapter in "${folder}" gives no embeddings: load it by classifier.ts`,
    );
  }
  const preset = checkedRank(adapter, rank ?? adapter.file.rank);
  const embed = async (
    texts: readonly string[],
    { rank = preset, batchSize }: CallOptions = {},
  ) => {
    if (!Array.isArray(texts)) {
      throw new TypeError("Expected a list of texts, as in embed([text])");
    }
    const sequences = texts.map((text, i) =>
      model.encoding.encode(text, maxLength, i)
    );
    const checked = checkedRank(adapter, rank);
    const { rows } = await outputsOf(
      model,
      adapter,
      sequences,
      checked,
      batchSize,
    );
    return normalizes ? rows.map(normalized) : rows;
  };
  return Object.assign(embed, {
    ranks: adapter.ranks,
    with: (other: string | URL, { rank }: Pick<LoadOptions, "rank"> = {}) =>
      embedder(model, other, rank),
    release: () => model.session.release(),
  });
}

/** A text among others. */
export interface Ranked {
  /** Its number among them. */
  readonly index: number;
  /** Cosine of its embedding and that of the query, from -1 to 1. */
  readonly cosine: number;
}

/**
 * Ranks texts by the cosines of their embeddings and that of a query, the
 * nearest first, the earlier one of equally near ones.
 */
export function ranking(
  query: Float32Array,
  texts: readonly Float32Array[],
): Ranked[] {
  const unit = normalized(query);
  return texts.map((text, index) => ({
    index,
    cosine: product(unit, normalized(text)),
  })).sort((a, b) => b.cosine - a.cosine);
}

/** An embedding divided by its norm; zeros stay as they are. */
function normalized(embedding: Float32Array): Float32Array {
  const norm = Math.sqrt(product(embedding, embedding));
  return norm === 0 ? embedding : embedding.map((it) => it / norm);
}

function product(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
