import { join } from "@std/path/posix/join";
import { type Adapter, readAdapter, tensorsOf } from "../peft/adapter.ts";
import { taskFields } from "../artifacts/classes.ts";
import { exists } from "../artifacts/json_file.ts";
import { MODEL_FILES, readModel } from "../artifacts/model.ts";
import { readPeft, toAdapter } from "../peft/import.ts";
import {
  writeClassification,
  writePredictions,
} from "../artifacts/predictions.ts";
import { checkServed, servedRanks } from "../artifacts/training.ts";
import { readTokens } from "../artifacts/tokens.ts";
import { tokenizerDefaults } from "../engine/models/registry.ts";
import { methodName, provenanceOf } from "../engine/schedules/registry.ts";
import { ModelTokenizer } from "../text/model_tokenizer.ts";
import {
  type EncodedExamples,
  type Example,
  readPlaces,
  wordStarts,
} from "../data/example.ts";
import { findModelFiles } from "../hub/model_source.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import { problemOf, problemOfOutputs } from "../problems/registry.ts";
import {
  type AdapterStage,
  loadAdapter,
  logitsAt,
  openAdapter,
  type Ready,
} from "./load_classifier.ts";
import { writeTexts } from "./generate.ts";
import {
  NoRecommendationError,
  recommendedRank,
} from "../ranks/recommended_rank.ts";
import type { Prediction, Problem } from "../problems/problem.ts";
import type { UsageSettings, WritingSettings } from "./settings.ts";

/** Predicts the labels of a split with the adapter of a stage, at one rank, by default its own. */
export async function predict(
  stage: AdapterStage<{
    readonly split: string;
    readonly rank?: number | undefined;
    readonly batchSize: number;
  }>,
): Promise<void> {
  const { params: { split, batchSize, ...params }, inputs } = stage;
  const requested = params.rank === undefined ? [] : [params.rank];
  const { training, info, load } = await openAdapter(stage, requested);
  const { rank = servedRanks(training).at(-1)! } = params;
  const problem = problemOf(info);
  if (problem.head === "language") {
    throw new RangeError(
      "The adapter predicts no labels, but writes texts: use the task generate, or deno task predict",
    );
  }
  const examples = readTokens(inputs.tokens.path, info, split);
  const ready = await load();
  const logits = await logitsAt(stage, ready, examples, {
    ranks: [rank],
    batchSize,
  });
  const { index, words } = examples;
  await writePredictions(stage.output, {
    ...taskFields(info),
    split,
    rank,
    precision: ready.precision,
  }, {
    index: words === undefined ? index : Int32Array.from(
      Array.from(index).flatMap((it, i) =>
        readPlaces(examples, i).map(() => it)
      ),
    ),
    words: words?.numbers,
    predictions: problem.predictions(logits),
  });
}

/** A text or a pair of texts, or a text with its words. */
type TextInput = Pick<Example, "text" | "pair" | "words">;

/** Texts per forward pass, and prompts after which is written at a time. */
const [BATCH, WRITTEN] = [32, 8];

type ClassifyingStage = Stage<
  & {
    readonly texts: readonly TextInput[];
    readonly rank?: number | "recommended" | undefined;
  }
  & WritingSettings
  & Omit<UsageSettings, "batchSize">,
  {
    readonly model: InputArtifact;
    readonly adapter: InputArtifact;
    readonly report: InputArtifact | undefined;
  }
>;

/** Classifies the texts of a stage with its adapter at one rank, or writes what follows them. */
export async function classify(stage: ClassifyingStage): Promise<void> {
  const { params, inputs } = stage;
  const model = inputs.model.path;
  findModelFiles(model, MODEL_FILES, []);
  const adapter = await adapterIn(inputs.adapter.path, model);
  const { training, heads } = adapter;
  const problem = problemOf(training);
  const { rank, recommended } = await rankOf(training, stage);
  checkServed(rank, training);
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
  const isWritten = problem.head === "language";
  const examples = isWritten
    ? undefined
    : await encode(texts, model, training.maxLength);
  const tensors = tensorsOf(adapter, params.epoch);
  const ready = await loadAdapter(stage, model, { training, tensors, heads });
  const at = { ranks: [rank], batchSize: isWritten ? WRITTEN : BATCH };
  const predictions = examples === undefined
    ? await writtenAfter(texts, stage, ready, { ...params, ...at })
    : predictionsOf(
      problem,
      texts,
      examples,
      await logitsAt(stage, ready, examples, at, "texts"),
    );
  await writeClassification(stage.output, {
    task: training.task,
    problem: problem.name,
    method: methodName(provenanceOf(training)),
    rank,
    recommended,
    precision: ready.precision,
    texts: params.texts.map(({ words: _, ...text }, i) => ({
      ...text,
      ...predictions[i]!,
    })),
  });
}

/** What the model writes after each text. */
async function writtenAfter(
  prompts: readonly Example[],
  stage: ClassifyingStage,
  ready: Ready,
  options: Parameters<typeof writeTexts>[4],
): Promise<Prediction[]> {
  const model = stage.inputs.model.path;
  const { texts } = await writeTexts(stage, ready, model, prompts, options);
  const none = { label: null, probabilities: null, score: null };
  return texts[0]!.map((written) => ({ ...none, written }));
}

/** The prediction for each text by the logits of all, or of their words. */
function predictionsOf(
  problem: Problem,
  texts: readonly Example[],
  examples: EncodedExamples,
  logits: Float32Array,
): Prediction[] {
  const { outputs } = problem;
  const starts = examples.words ? wordStarts(examples) : undefined;
  return texts.map((text, i) => {
    const [from, to] = [starts?.[i] ?? i, starts?.[i + 1] ?? i + 1];
    const read = Array.from(examples.words?.numbers.subarray(from, to) ?? []);
    const own = logits.subarray(from * outputs, to * outputs);
    return problem.prediction(own, { ...text, read });
  });
}

/** The rank to predict at, and whether a report recommends it. */
async function rankOf(
  training: Adapter["training"],
  { params: { rank, epoch }, inputs: { report }, log }: ClassifyingStage,
): Promise<{ readonly rank: number; readonly recommended: boolean }> {
  if (typeof rank === "number") return { rank, recommended: false };
  if (rank === "recommended" && report === undefined) {
    throw new RangeError(
      'Rank "recommended" requires a report on the adapter: give the rank as a number',
    );
  }
  try {
    if (report !== undefined) {
      const found = await recommendedRank(report.path, training, { epoch });
      if (found.caution !== undefined) log(found.caution);
      return { rank: found.rank, recommended: found.caution === undefined };
    }
  } catch (error) {
    if (rank || !(error instanceof NoRecommendationError)) throw error;
    log(`${error.message}. Rank ${training.rank}, the adapter's own, is used`);
  }
  return { rank: servedRanks(training).at(-1)!, recommended: false };
}

/** Reads an artifact of kind `adapter`, or a folder of PEFT, whose classes have names only if it was exported here. */
async function adapterIn(folder: string, model: string): Promise<Adapter> {
  if (exists(join(folder, "training.json"))) return readAdapter(folder);
  const peft = await readPeft(folder, readModel(model));
  const task = peft.exported ??
    { task: "imported", ...problemOfOutputs(peft.outputs, peft.head) };
  const known = { ...taskFields(task), seed: 0 };
  return toAdapter(peft, model, { method: "lora", ...known });
}

/**
 * Tokenizes texts.
 *
 * @param trained Tokens to which the texts of the training were truncated; null if unknown
 */
async function encode(
  texts: readonly Example[],
  model: string,
  trained: number | null,
): Promise<EncodedExamples> {
  const { architecture, maxLength, vocabSize } = readModel(model);
  const defaults = tokenizerDefaults(architecture);
  const length = Math.min(maxLength, trained ?? maxLength);
  const tokenizer = await ModelTokenizer.load(model, defaults, length);
  const [encoded] = tokenizer.encodeAll(texts, vocabSize);
  return encoded;
}
