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
import {
  entitiesInText,
  type FoundEntity,
  readWords,
} from "../problems/entities.ts";
import {
  type CallOptions,
  checkedRank,
  loadAdapter,
  type LoadedAdapter,
  type LoadedModel,
  loadModel,
  type LoadOptions,
  outputsOf,
  type Runtime,
} from "./session.ts";
import type { Input } from "./text_encoding.ts";

export type { CallOptions, FoundEntity, Input, LoadOptions, Runtime };

/** Prediction for a text. */
export interface Answer {
  /**
   * The most probable class; undefined for several labels, for a regression,
   * and for tokens.
   */
  readonly label: string | undefined;
  /**
   * For several labels, those whose probability reaches the threshold, the most
   * probable one first.
   */
  readonly labels?: readonly string[];
  /**
   * Probability of that class; for several labels, that of the most probable
   * one; for a regression, the predicted value; for tokens, the mean
   * probability of the tags, 1 without words.
   */
  readonly score: number;
  /**
   * Probability of each class of the text; those of several labels are
   * independent of each other.
   */
  readonly scores: Readonly<Record<string, number>>;
  /** For tokens, what is found in the text. */
  readonly entities?: readonly FoundEntity[];
}

/** Options of a classification. */
export interface ClassifyOptions extends CallOptions {
  /**
   * For several labels, the probability from which one is predicted; by default
   * that of the adapter.
   */
  readonly threshold?: number;
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
  readonly problem: "classification" | "multi-label" | "regression" | "tokens";
  /**
   * Class names in the order of their ids, tags for tokens; null for a
   * regression.
   */
  readonly labels: readonly string[] | null;
  /**
   * For several labels, the probability from which one is predicted unless a
   * call names another; undefined for another problem.
   */
  readonly threshold: number | undefined;
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

/**
 * Loads an exported folder.
 *
 * @param folder Its path or URL; in browsers, URLs are relative to the page
 * @throws {Error} If a file is missing or of another model, the adapter gives
 * embeddings, or this machine cannot run the model.
 */
export async function load(
  folder: string | URL,
  options: LoadOptions = {},
): Promise<Classify> {
  const model = await loadModel(folder, options);
  return await classifier(model, options.adapter ?? folder, options.rank);
}

async function classifier(
  model: LoadedModel,
  folder: string | URL,
  rank: number | undefined,
): Promise<Classify> {
  const adapter = await loadAdapter(model, folder);
  const { problem, labels, normalizes } = adapter.file;
  if (normalizes !== undefined) {
    throw new Error(
      `The adapter in "${folder}" gives embeddings: load it by embedder.ts`,
    );
  }
  const preset = {
    rank: checkedRank(adapter, rank ?? adapter.file.rank),
    threshold: adapter.file.threshold ?? DEFAULT_THRESHOLD,
  };
  const classify = async (
    texts: readonly Input[],
    options: ClassifyOptions = {},
  ) => {
    const rank = checkedRank(adapter, options.rank ?? preset.rank);
    const { threshold = preset.threshold, batchSize } = options;
    const chosen = { rank, threshold, batchSize };
    return await classifyTexts(model, adapter, texts, chosen);
  };
  return Object.assign(classify, {
    problem: problem as Classify["problem"],
    labels,
    threshold: problem === "multi-label" ? preset.threshold : undefined,
    ranks: adapter.ranks,
    with: (other: string | URL, { rank }: Pick<LoadOptions, "rank"> = {}) =>
      classifier(model, other, rank),
    release: () => model.session.release(),
  });
}

/** Probability from which one of several labels is predicted. */
const DEFAULT_THRESHOLD = 0.5;

/** How texts are classified. */
interface Chosen {
  readonly rank: number;
  readonly threshold: number;
  readonly batchSize: number | undefined;
}

async function classifyTexts(
  model: LoadedModel,
  adapter: LoadedAdapter,
  texts: readonly Input[],
  { rank, threshold, batchSize }: Chosen,
): Promise<Answer[]> {
  if (!Array.isArray(texts)) {
    throw new TypeError("Expected a list of texts, as in classify([text])");
  }
  const { encoding } = model;
  const { problem, maxLength, words: form } = adapter.file;
  const labels = adapter.file.labels ?? [];
  const encoded = texts.map((input, i) =>
    problem === "tokens" ? encoding.encodeWords(input, form, maxLength, i) : {
      words: [],
      windows: [{
        ...encoding.encode(input, maxLength, i),
        firsts: [{ token: 0, word: 0 }],
      }],
    }
  );
  const windows = encoded.flatMap(({ windows }, at) =>
    windows.map((window) => ({ ...window, at }))
  );
  const { rows, width } = await outputsOf(
    model,
    adapter,
    windows,
    rank,
    batchSize,
  );
  /** For each text the logits of its words; other texts count as one word. */
  const logitsByWord = texts.map(() => new Map<number, Float32Array>());
  for (const [row, { at, firsts }] of windows.entries()) {
    for (const { token, word } of firsts) {
      const from = token * width;
      logitsByWord[at]!.set(word, rows[row]!.slice(from, from + width));
    }
  }
  return encoded.map(({ words }, i) => {
    const logits = [...logitsByWord[i]!].sort(([a], [b]) => a - b);
    if (problem === "multi-label") {
      return labelsAnswer(logits[0]![1], labels, threshold);
    }
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

/** Each label by the logistic function of its own logit. */
function labelsAnswer(
  logits: Float32Array,
  labels: readonly string[],
  threshold: number,
): Answer {
  const shares = Array.from(logits, (it) => 1 / (1 + Math.exp(-it)));
  const predicted = labels
    .map((name, i) => ({ name, share: shares[i]! }))
    .filter(({ share }) => share >= threshold)
    .sort((a, b) => b.share - a.share);
  return {
    label: undefined,
    labels: predicted.map(({ name }) => name),
    score: Math.max(...shares),
    scores: Object.fromEntries(labels.map((it, i) => [it, shares[i]!])),
  };
}
