import { taskFields } from "../artifacts/classes.ts";
import { readDatasetInfo, readExamples } from "../artifacts/dataset.ts";
import { poolingInWords, readModel } from "../artifacts/model.ts";
import {
  tokenizerDefaultsOf,
  tokenizerDigest,
} from "../artifacts/tokenizer.ts";
import {
  TOKENS_PER_WORD,
  truncatedMetric,
  writeTokens,
} from "../artifacts/tokens.ts";
import type { EncodedExamples, Example } from "../data/example.ts";
import { problemOf } from "../problems/registry.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import { DEFAULT_LENGTH } from "./settings.ts";

/** Number of examples that show whether the tokenizer knows their language. */
const LANGUAGE_SAMPLE = 1000;

/** All that is read of an example. */
function textsIn(
  { text, pair, others = [], completions = [], messages }: Example,
): string[] {
  const read = messages?.map(({ content }) => content) ?? [text];
  if (pair !== undefined) read.push(pair);
  return [...read, ...others, ...completions];
}

/**
 * Tokenizes the data set of a stage for its model and writes an artifact of
 * kind `tokens`.
 */
export async function tokenize(
  { params, inputs, output, progress, log, metric }: Stage<{
    readonly maxLength?: number | undefined;
    readonly date: string;
  }, Readonly<Record<"data" | "model", InputArtifact>>>,
): Promise<void> {
  const data = inputs.data.path;
  const model = inputs.model.path;
  const info = await readDatasetInfo(data);
  const { head } = problemOf(info);
  const limits = readModel(model, head);
  if (head === "embedding") log(poolingInWords(model));
  const { maxLength = Math.min(DEFAULT_LENGTH, limits.maxLength) } = params;
  if (maxLength > limits.maxLength) {
    throw new RangeError(
      `"maxLength" is ${maxLength}, but the model has ${limits.maxLength} positions: choose at most that many, as by -S maxLength=${limits.maxLength}`,
    );
  }
  const defaults = tokenizerDefaultsOf(model);
  const { date } = params;
  const tokenizer = await ModelTokenizer.load(model, defaults, maxLength, date);
  const splits: Record<string, EncodedExamples> = {};
  const total = Object.values(info.splits).reduce((sum, it) => sum + it, 0);
  let done = 0;
  for (const name of Object.keys(info.splits)) {
    const examples = await readExamples(data, name);
    const [encoded, truncated, cut] = tokenizer.encodeAll(
      examples,
      limits.vocabSize,
      () => {
        done++;
        if (done % 256 === 0) progress(done, total, "examples", name);
      },
    );
    splits[name] = encoded;
    metric(truncatedMetric(name), truncated);
    const sequences = encoded.offsets.length - 1;
    const words = examples.flatMap((it) => it.words ?? []).length;
    const unread = words - (encoded.words?.tokens.length ?? 0);
    const share = (100 * truncated / sequences).toFixed(1);
    const what = truncated === 0
      ? "none"
      : `${truncated} of ${sequences} sequences (${share} %)`;
    const prompts = truncated - cut;
    const lost = unread > 0
      ? `; ${unread} of ${words} words have no token of their own, and are neither learnt nor scored`
      : info.problem === "language" && truncated > 0
      ? `: ${prompts} prompts have lost their beginning, ${cut} texts to write their end`
      : "";
    const all = `${examples.length} examples, ${encoded.ids.length} tokens`;
    log(`${name}: ${all}; ${what} truncated to ${maxLength} tokens${lost}`);
  }
  const sample = await readExamples(data, Object.keys(info.splits)[0]!);
  const texts = sample.slice(0, LANGUAGE_SAMPLE).flatMap(textsIn);
  const tokensPerWord = tokenizer.tokensPerWord(texts);
  if (Number.isFinite(tokensPerWord)) metric(TOKENS_PER_WORD, tokensPerWord);
  await writeTokens(output, {
    ...taskFields(info),
    metrics: info.metrics,
    maxLength,
    vocabSize: limits.vocabSize,
    tokenizer: await tokenizerDigest(model, info.problem),
  }, splits);
}
