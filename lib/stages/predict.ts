import { join } from "@std/path/posix/join";
import { type Adapter, afterEpoch, readAdapter } from "../peft/adapter.ts";
import { taskFields } from "../artifacts/classes.ts";
import { exists } from "../artifacts/json_file.ts";
import { MODEL_FILES } from "../artifacts/model.ts";
import { readPeft, toAdapter } from "../peft/import.ts";
import {
  writeClassification,
  writePredictions,
} from "../artifacts/predictions.ts";
import { readTokens } from "../artifacts/tokens.ts";
import { tokenizerDefaults } from "../engine/models/registry.ts";
import { methodName, provenanceOf } from "../engine/schedules/registry.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import { type Example, unitsOf, wordStarts } from "../data/example.ts";
import { findModelFiles } from "../hub/model_source.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import {
  problemOf,
  problemOfOutputs,
  withThreshold,
} from "../problems/registry.ts";
import {
  type AdapterStage,
  loadAdapter,
  logitsAt,
  openAdapter,
  type Ready,
} from "./load_classifier.ts";
import { type CuttingStage, requestedRank } from "./cut_adapter.ts";
import { writeTexts } from "./generate.ts";
import { reportedThreshold } from "./recommended_rank.ts";
import type { Prediction, Problem } from "../problems/problem.ts";
import type { UsageSettings, WritingSettings } from "./settings.ts";

/**
 * Predicts the labels of a split with the adapter of a stage, at one rank, by
 * default its own.
 */
export async function predict(
  stage: AdapterStage<{
    readonly split: string;
    readonly rank?: number | undefined;
    readonly threshold?: number | undefined;
    readonly batchSize: number;
  }>,
): Promise<void> {
  const { params: { split, batchSize, ...params }, inputs } = stage;
  const choice = params.rank === undefined ? "all" : [params.rank];
  const { ranks, info, load } = await openAdapter(stage, choice);
  const rank = ranks.at(-1)!;
  const problem = problemOf(info);
  if (problem.head === "language") {
    throw new RangeError(
      "The adapter predicts no labels, but writes texts: use the task generate, or deno task predict",
    );
  }
  if (problem.head === "embedding") {
    throw new RangeError(
      "The adapter predicts no labels, but gives embeddings: use the task embed or evaluate-ranks",
    );
  }
  const examples = readTokens(inputs.tokens.path, info, split);
  const ready = await load();
  const at = { ranks: [rank], batchSize };
  const logits = await logitsAt(stage, ready, examples, at);
  const index = Array.from(examples.index)
    .flatMap((it, i) => unitsOf(examples, i).map(() => it));
  await writePredictions(stage.output, {
    ...taskFields(withThreshold(info, params.threshold)),
    split,
    rank,
    precision: ready.precision,
  }, {
    index: Int32Array.from(index),
    words: examples.words?.numbers,
    predictions: problem.predictions(logits),
  });
}

/** Texts per forward pass. */
const BATCH = 32;

/** Prompts whose texts are written at a time. */
const WRITTEN = 8;

type ClassifyingStage = CuttingStage<
  { readonly model: InputArtifact },
  & WritingSettings
  & Pick<UsageSettings, "precision">
  & {
    readonly texts: readonly Pick<Example, "text" | "pair" | "words">[];
    readonly threshold?: number | undefined;
  }
>;

/**
 * Classifies the texts of a stage with its adapter at one rank, or writes what
 * follows them.
 */
export async function classify(stage: ClassifyingStage): Promise<void> {
  const { params, inputs } = stage;
  const model = inputs.model.path;
  findModelFiles(model, MODEL_FILES, []);
  const adapter = await adapterIn(inputs.adapter.path, model);
  const { training } = adapter;
  const threshold = params.threshold ?? (inputs.report &&
    await reportedThreshold(inputs.report.path, training, params));
  const problem = problemOf(withThreshold(training, threshold));
  if (problem.head === "embedding") {
    throw new RangeError(
      "The adapter gives embeddings: use the task embed",
    );
  }
  const { rank, recommended } = await requestedRank(adapter, stage, true);
  for (
    const [field, head, form, remedy] of [
      ["words", "tokens", "lists of words", "whole texts"],
      ["pair", "sequence", "pairs", "single texts"],
    ] as const
  ) {
    const isGiven = params.texts.some((it) => it[field] !== undefined);
    if (problem.head === head || !isGiven) continue;
    const task = problem.inWords(training.task);
    throw new RangeError(
      `The texts are ${form}, and the adapter is for ${task}: give it ${remedy}`,
    );
  }
  const texts = params.texts.map(problem.toExample);
  const used = afterEpoch(adapter, params.epoch);
  const ready = await loadAdapter(stage, model, used);
  const predictions = problem.head === "language"
    ? await writtenAfter(texts, stage, ready, rank)
    : await predictionsOf(
      texts,
      stage,
      ready,
      rank,
      training.maxLength ?? undefined,
      problem,
    );
  await writeClassification(stage.output, {
    task: training.task,
    problem: problem.name,
    method: methodName(provenanceOf(training)),
    rank,
    recommended,
    ...problem.threshold !== undefined && { threshold: problem.threshold },
    precision: ready.precision,
    texts: params.texts.map(({ words: _, ...text }, i) => ({
      ...text,
      ...predictions[i]!,
    })),
  });
}

/** What the model writes after each text. */
async function writtenAfter(
  texts: readonly Example[],
  stage: ClassifyingStage,
  ready: Ready,
  rank: number,
): Promise<Prediction[]> {
  const options = { ...stage.params, ranks: [rank], batchSize: WRITTEN };
  const { texts: [all] } = await writeTexts(stage, ready, texts, options);
  const none = { label: null, probabilities: null, score: null };
  return all!.map((written) => ({ ...none, written }));
}

/** The prediction for each text by its logits, or those of its words. */
async function predictionsOf(
  texts: readonly Example[],
  stage: ClassifyingStage,
  ready: Ready,
  rank: number,
  trainedLength: number | undefined,
  { outputs, classes, predictions, prediction }: Problem,
): Promise<Prediction[]> {
  const { architecture, maxLength, vocabSize } = ready.classifier.model;
  const defaults = tokenizerDefaults(architecture);
  const length = Math.min(maxLength, trainedLength ?? maxLength);
  const tokenizer = await ModelTokenizer.load(ready.folder, defaults, length);
  const [examples] = tokenizer.encodeAll(texts, vocabSize);
  const at = { ranks: [rank], batchSize: BATCH };
  const logits = await logitsAt(stage, ready, examples, at, "texts");
  const { words } = examples;
  const starts = words && wordStarts(examples);
  return texts.map((text, i) => {
    const from = starts?.[i] ?? i;
    const to = starts?.[i + 1] ?? i + 1;
    const read = Array.from(words?.numbers.subarray(from, to) ?? []);
    const textLogits = logits.subarray(from * outputs, to * outputs);
    const predicted = prediction(textLogits, { ...text, read });
    if (words === undefined) return predicted;
    const numbers = predictions(textLogits);
    const tags = read.map((word, k) => ({ word, tag: classes[numbers[k]!]! }));
    return { ...predicted, tags };
  });
}

/**
 * Reads an artifact of kind `adapter`, or a folder of PEFT, whose classes have
 * names only if it was exported here.
 */
export async function adapterIn(
  folder: string,
  model: string,
): Promise<Adapter> {
  if (exists(join(folder, "training.json"))) return readAdapter(folder);
  const peft = await readPeft(folder, model);
  const task = peft.exported ??
    { task: "imported", ...problemOfOutputs(peft.outputs, peft.head) };
  return toAdapter(peft, { method: "lora", ...taskFields(task), seed: 0 });
}
