import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Examples } from "../../lib/engine/batches.ts";
import { evaluateRanks } from "../../lib/engine/evaluation/rank_evaluation.ts";
import {
  ModelTokenizer,
  packEncodings,
} from "../../lib/glue/model_tokenizer.ts";
import { predictionsOf } from "../../lib/glue/metrics.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { numberedLabels, takeOver } from "../adapters/import_adapter.ts";
import { readPeft } from "../adapters/read_peft.ts";
import { type Adapter, readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import type { Epoch } from "../artifacts/epoch.ts";
import {
  type Classification,
  writeClassification,
} from "../artifacts/classification.ts";
import { readSequenceLimits } from "../artifacts/model.ts";
import { checkRank } from "../artifacts/rank.ts";
import { adapterValues } from "./adapter_values.ts";
import { loadClassifier } from "./load_classifier.ts";
import { startStageEngine } from "./start_stage_engine.ts";

/** A text, or a pair of them. */
export interface TextInput {
  readonly text: string;
  readonly pair?: string | undefined;
}

/** Parameters of a classification. */
export interface ClassificationSettings {
  readonly texts: readonly TextInput[];
  readonly rank?: number | undefined;
  readonly epoch: Epoch;
  readonly precision: "auto" | "f32" | "bf16";
}

/** Texts of one forward pass. */
const BATCH = 32;

/** Classifies a stage's texts and writes the stage's artifact. */
export async function classifyTexts(
  stage: Stage<ClassificationSettings>,
): Promise<void> {
  const { params, inputs } = stage;
  const model = inputs.model![0]!.path;
  const adapter = await adapterIn(inputs.adapter![0]!.path, model);
  const { training } = adapter;
  const { labels } = training;
  const rank = params.rank ?? training.rank;
  checkRank(rank, training.rank);
  const examples = await encode(params.texts, model);
  const precision = await startStageEngine(stage);
  const outputs = labels?.length ?? 1;
  const classifier = loadClassifier(model, training.rank, outputs);
  const tensors = tensorsOf(adapter, params.epoch);
  const logits = await evaluateRanks(
    classifier,
    adapterValues({ tensors }, classifier),
    examples,
    {
      alpha: training.alpha,
      scaling: training.scaling,
      ranks: [rank],
      batchSize: BATCH,
      signal: stage.signal,
    },
  );
  const predictions = predictionsOf(logits, outputs);
  await writeClassification(stage.output, {
    task: training.task,
    method: training.method,
    rank,
    precision,
    texts: params.texts.map(({ text, pair }, i) => ({
      text,
      ...(pair !== undefined && { pair }),
      ...verdict(
        labels,
        logits.subarray(i * outputs, (i + 1) * outputs),
        predictions[i]!,
      ),
    })),
  });
}

/** An artifact of kind `adapter`, or a folder that PEFT wrote, whose classes have no names. */
async function adapterIn(folder: string, model: string): Promise<Adapter> {
  if (existsSync(join(folder, "training.json"))) return readAdapter(folder);
  const peft = await readPeft(folder);
  return takeOver(peft, model, {
    method: "lora",
    task: "imported",
    labels: numberedLabels(peft.outputs),
    seed: 0,
  });
}

/** The texts as the model reads them, with no labels. */
async function encode(
  texts: readonly TextInput[],
  model: string,
): Promise<Examples> {
  const { family, maxLength, vocabSize } = await readSequenceLimits(model);
  const tokenizer = await ModelTokenizer.load(model, family, maxLength);
  const encodings = texts.map(({ text, pair }) => tokenizer.encode(text, pair));
  return {
    ...packEncodings(encodings, vocabSize),
    labels: new Float32Array(texts.length),
  };
}

function verdict(
  labels: readonly string[] | null,
  logits: Float32Array,
  prediction: number,
): Pick<
  Classification["texts"][number],
  "label" | "probabilities" | "score"
> {
  if (labels === null) {
    return { label: null, probabilities: null, score: prediction };
  }
  const largest = Math.max(...logits);
  const weights = [...logits].map((logit) => Math.exp(logit - largest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return {
    label: labels[prediction]!,
    probabilities: Object.fromEntries(
      labels.map((label, i) => [label, weights[i]! / sum]),
    ),
    score: null,
  };
}
