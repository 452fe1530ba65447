/**
 * Classifies texts by a model of ONNX and an adapter, at any of its ranks: what
 * `deno task export PIPELINE STAGE --to onnx` writes. Runs in Deno, in Node.js
 * and in browsers, with onnxruntime-web and @huggingface/tokenizers.
 *
 * ```ts
 * const classify = await load("./mrpc-onnx", { rank: 3 });
 * const [answer] = await classify([{ text: "It rains.", pair: "Rain falls."
 * }]);
 * console.log(answer.label, answer.scores);
 * console.log(await classify(["It rains."], { rank: 8 }));
 * ```
 */
import * as web from "onnxruntime-web";
import { type Adapter, inputsAt, readAdapter } from "./adapter.ts";
import { openFolder } from "./folder.ts";
import type { Frame } from "./frame.ts";
import { entitiesInText, type FoundEntity, readWords } from "./entities.ts";
import { type Input, TextEncoding } from "./text_encoding.ts";

export type { FoundEntity, Input };

/**
 * What is used of onnxruntime: onnxruntime-web by default; onnxruntime-node has
 * the same interface.
 */
export type Runtime = Pick<typeof web, "InferenceSession" | "Tensor">;

/** Prediction for a text. */
export interface Answer {
  /** The most probable class; undefined for a regression, and for tokens. */
  readonly label: string | undefined;
  /**
   * Probability of that class; for a regression, the predicted value; for
   * tokens, the mean probability of the tags, 1 without words.
   */
  readonly score: number;
  /** Probability of each class of the text. */
  readonly scores: Readonly<Record<string, number>>;
  /** For tokens, what is found in the text. */
  readonly entities?: readonly FoundEntity[];
}

/** Options of a call. */
export interface ClassifyOptions {
  /** Rank of the adapter. */
  readonly rank?: number;
  /** Maximum number of texts that are computed together, 32 by default. */
  readonly batchSize?: number;
}

/** Options of {@linkcode load}. */
export interface LoadOptions {
  /** Rank of calls that name none; by default, that of the export. */
  readonly rank?: number;
  /**
   * Folder of another adapter of the model; by default, the adapter beside it.
   */
  readonly adapter?: string | URL;
  /** onnxruntime, if it is not onnxruntime-web. */
  readonly runtime?: Runtime;
  /**
   * Execution providers of onnxruntime, by preference: `["webgpu", "wasm"]`; by
   * default, the runtime's choice.
   */
  readonly executionProviders?: readonly string[];
}

/** A model with an adapter. */
export interface Classify {
  /**
   * Classifies texts, in their order.
   *
   * @throws {RangeError} If the adapter does not serve the rank, or a text is
   * too long to be meant.
   */
  (texts: readonly Input[], options?: ClassifyOptions): Promise<Answer[]>;
  readonly problem: "classification" | "regression" | "tokens";
  /**
   * Class names in the order of their ids, tags for tokens; null for a
   * regression.
   */
  readonly labels: readonly string[] | null;
  /** Ranks that the adapter serves, ascending. */
  readonly ranks: readonly number[];
  /** The same model, not loaded again, with another adapter. */
  with(
    adapter: string | URL,
    options?: Pick<LoadOptions, "rank">,
  ): Promise<Classify>;
  /** Frees the model; it and all adapters on it cannot be used afterwards. */
  release(): Promise<void>;
}

/** `model.json` of an exported folder. */
interface ModelFile extends Frame {
  /** SHA-256 of the model's weights, by which an adapter names it. */
  readonly weights: string;
  /** Tokens of the longest sequence. */
  readonly maxLength: number;
  readonly padId: number;
  /** Whether weights are in a file beside the model. */
  readonly hasData: boolean;
}

interface Loaded {
  readonly file: ModelFile;
  readonly place: string;
  readonly runtime: Runtime;
  readonly session: web.InferenceSession;
  readonly encoding: TextEncoding;
}

/**
 * Loads an exported folder.
 *
 * @param folder Its path or URL; in browsers, URLs are relative to the page
 * @throws {Error} If a file is missing or of another model, or this machine
 * cannot run the model.
 */
export async function load(
  folder: string | URL,
  { rank, adapter = folder, runtime = web, executionProviders }: LoadOptions =
    {},
): Promise<Classify> {
  const opened = openFolder(folder);
  const file = await opened.json<ModelFile>("model.json");
  const encoding = new TextEncoding(
    await opened.json("tokenizer.json"),
    await opened.json("tokenizer_config.json"),
    file,
  );
  const data = "model.onnx_data";
  const session = await runtime.InferenceSession.create(
    await opened.bytes("model.onnx"),
    {
      ...(executionProviders && { executionProviders }),
      ...(file.hasData && {
        externalData: [{ path: data, data: await opened.bytes(data) }],
      }),
    },
  );
  const loaded = { file, place: opened.place, runtime, session, encoding };
  return await classifier(loaded, adapter, rank);
}

async function classifier(
  loaded: Loaded,
  place: string | URL,
  given: number | undefined,
): Promise<Classify> {
  const adapter = await readAdapter(
    openFolder(place),
    loaded.session.inputMetadata,
    { weights: loaded.file.weights, place: loaded.place },
  );
  const ranks = Object.keys(adapter.file.scales).map(Number);
  const checked = (rank: number): number => {
    if (Object.hasOwn(adapter.file.scales, rank)) return rank;
    throw new RangeError(
      `Rank ${rank} is not one that the adapter serves: ${
        ranks.length > 1 && ranks.length > ranks.at(-1)! - ranks[0]!
          ? `${ranks[0]} to ${ranks.at(-1)}`
          : ranks.join(", ")
      }`,
    );
  };
  const preset = checked(given ?? adapter.file.rank);
  const classify = async (
    texts: readonly Input[],
    { rank = preset, batchSize }: ClassifyOptions = {},
  ) => await classifyTexts(loaded, adapter, texts, checked(rank), batchSize);
  return Object.assign(classify, {
    problem: adapter.file.problem,
    labels: adapter.file.labels,
    ranks,
    with: (other: string | URL, { rank }: Pick<LoadOptions, "rank"> = {}) =>
      classifier(loaded, other, rank),
    release: () => loaded.session.release(),
  });
}

async function classifyTexts(
  { runtime: { Tensor }, session, encoding, file }: Loaded,
  adapter: Adapter,
  texts: readonly Input[],
  rank: number,
  batchSize = 32,
): Promise<Answer[]> {
  if (!Array.isArray(texts)) {
    throw new TypeError("Expected a list of texts, as in classify([text])");
  }
  const { problem, maxLength, words: form } = adapter.file;
  const labels = adapter.file.labels ?? [];
  const factors = Object.fromEntries(
    Object.entries(inputsAt(adapter, rank)).map(([name, { values, shape }]) => [
      name,
      new Tensor("float32", values, shape),
    ]),
  );
  const encoded = texts.map((input, i) =>
    problem === "tokens" ? encoding.encodeWords(input, form, maxLength, i) : {
      words: [],
      windows: [{
        ...encoding.encode(input, maxLength, i),
        firsts: [{ token: 0, word: 0 }],
      }],
    }
  );
  const rows = encoded.flatMap(({ windows }, at) =>
    windows.map((window) => ({ ...window, at }))
  )
    // Texts of one length need no padding.
    .sort((a, b) => a.ids.length - b.ids.length);
  /** For each text the logits of its words; other texts count as one word. */
  const found = texts.map(() => new Map<number, Float32Array>());
  for (let start = 0; start < rows.length; start += batchSize) {
    const batch = rows.slice(start, start + batchSize);
    const length = batch.at(-1)!.ids.length;
    const shape = [batch.length, length];
    const padded = (
      valuesOf: (row: typeof batch[0]) => number[],
      pad: number,
    ) =>
      new Tensor(
        "int64",
        BigInt64Array.from(
          batch.flatMap((row) => {
            const values = valuesOf(row);
            const rest = Array<number>(length - values.length).fill(pad);
            return [...values, ...rest];
          }),
          BigInt,
        ),
        shape,
      );
    const inputs: Record<string, web.Tensor> = {
      ...factors,
      input_ids: padded(({ ids }) => ids, file.padId),
      attention_mask: padded(({ ids }) => ids.map(() => 1), 0),
      ...(session.inputNames.includes("token_type_ids") && {
        token_type_ids: padded(({ types }) => types, 0),
      }),
    };
    const { logits } = await session.run(inputs) as { logits: web.Tensor };
    const values = await logits.getData() as Float32Array;
    const width = values.length / batch.length;
    const outputs = logits.dims.at(-1)!;
    for (const [row, { at, firsts }] of batch.entries()) {
      for (const { token, word } of firsts) {
        const from = row * width + token * outputs;
        found[at]!.set(word, values.slice(from, from + outputs));
      }
    }
  }
  return encoded.map(({ words }, i) => {
    const logits = [...found[i]!].sort(([a], [b]) => a - b);
    const answers = logits.map(([, it]) => classAnswer(it, labels));
    if (problem === "classification") return answers[0]!;
    if (problem === "regression") {
      return { label: undefined, score: logits[0]![1][0]!, scores: {} };
    }
    const scores = answers.map(({ score }) => score);
    return {
      label: undefined,
      score: scores.reduce((sum, it) => sum + it, 0) / scores.length || 1,
      scores: {},
      entities: entitiesInText(
        texts[i] as string,
        readWords(words, logits.map(([word]) => word)),
        answers.map(({ label }) => label!),
        scores,
        labels,
      ),
    };
  });
}

function classAnswer(logits: Float32Array, labels: readonly string[]): Answer {
  const largest = Math.max(...logits);
  const shares = Array.from(logits, (it) => Math.exp(it - largest));
  const sum = shares.reduce((sum, it) => sum + it);
  const best = logits.indexOf(largest);
  return {
    label: labels[best]!,
    score: shares[best]! / sum,
    scores: Object.fromEntries(labels.map((it, i) => [it, shares[i]! / sum])),
  };
}
