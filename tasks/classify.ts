import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import {
  type Adapter,
  readAdapter,
  tensorsOf,
} from "../lib/artifacts/adapter.ts";
import { MODEL_FILES, readModel } from "../lib/artifacts/model.ts";
import {
  type Classification,
  CLASSIFICATION_FILES,
  writeClassification,
} from "../lib/artifacts/predictions.ts";
import { numberedLabels, outputsOf } from "../lib/artifacts/classes.ts";
import { checkServed } from "../lib/artifacts/ranks.ts";
import type { Examples } from "../lib/engine/training/batch.ts";
import { methodName } from "../lib/engine/schedules/registry.ts";
import { predictionsOf } from "../lib/glue/metrics.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";
import { epoch, precision } from "../lib/stages/settings.ts";

/** A text or a pair of texts. */
interface TextInput {
  readonly text: string;
  readonly pair?: string | undefined;
}

/** Texts per forward pass. */
const BATCH = 32;

export default defineTask({
  description:
    "Classify texts given as a parameter, with an adapter at one rank",
  params: z.strictObject({
    texts: z.array(z.strictObject({
      text: z.string(),
      pair: z.string().optional(),
    })).min(1).describe("Texts or pairs of texts"),
    rank: z.union([z.int().min(1), z.literal("recommended")]).optional()
      .describe(
        'Rank to predict at; "recommended" is the one that the input report recommends, and the default if it recommends one; otherwise the default is the rank of the adapter',
      ),
    epoch,
    precision,
  }),
  inputs: {
    model: { kind: "model" },
    /** An artifact of kind adapter, or a folder of PEFT. */
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
  },
  output: { kind: "classification", files: CLASSIFICATION_FILES },
  needs: ["engine"],
  async run(stage) {
    const { findModelFiles } = await import("../lib/hub/model_source.ts");
    const { evaluateRanks } = await import(
      "../lib/engine/training/evaluation.ts"
    );
    const { adapterValues, loadFolder, startStageEngine } = await import(
      "../lib/stages/load_classifier.ts"
    );
    const { params, inputs } = stage;
    const model = inputs.model![0]!.path;
    findModelFiles(model, MODEL_FILES, []);
    const adapter = await adapterIn(inputs.adapter![0]!.path, model);
    const { training } = adapter;
    const { labels } = training;
    const { rank, recommended } = await rankOf(
      training,
      stage,
      inputs.report?.[0]?.path,
    );
    checkServed(rank, training);
    const examples = await encode(params.texts, model, training.maxLength);
    const precision = await startStageEngine(stage);
    const outputs = outputsOf(labels);
    const classifier = loadFolder(model, outputs, training);
    const tensors = tensorsOf(adapter, params.epoch);
    const logits = await evaluateRanks(
      classifier,
      adapterValues({ tensors }, classifier.layout),
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
      method: methodName(training),
      rank,
      recommended,
      precision,
      texts: params.texts.map(({ text, pair }, i) => ({
        text,
        ...(pair !== undefined && { pair }),
        ...resultOf(
          labels,
          logits.subarray(i * outputs, (i + 1) * outputs),
          predictions[i]!,
        ),
      })),
    });
  },
});

/** The rank to predict at, and whether a report recommends it. */
async function rankOf(
  training: Adapter["training"],
  { params: { rank, epoch }, log }: Pick<
    Stage<{
      readonly rank?: number | "recommended" | undefined;
      readonly epoch: "last" | "best";
    }>,
    "params" | "log"
  >,
  report: string | undefined,
): Promise<{ readonly rank: number; readonly recommended: boolean }> {
  if (typeof rank === "number") return { rank, recommended: false };
  const own = { rank: training.rank, recommended: false };
  if (report === undefined) {
    if (rank === undefined) return own;
    throw new RangeError(
      'Rank "recommended" requires a report on the adapter: give the rank as a number',
    );
  }
  const { NoRecommendationError, recommendedRank } = await import(
    "../lib/stages/recommended_rank.ts"
  );
  try {
    const found = await recommendedRank(report, training, { epoch });
    if (found.caution !== undefined) log(found.caution);
    return { rank: found.rank, recommended: found.caution === undefined };
  } catch (error) {
    if (rank === undefined && error instanceof NoRecommendationError) {
      return own;
    }
    throw error;
  }
}

/** Reads an artifact of kind `adapter`, or a folder of PEFT, whose classes have names only if it was exported here. */
async function adapterIn(folder: string, model: string): Promise<Adapter> {
  if (existsSync(join(folder, "training.json"))) return readAdapter(folder);
  const { readPeft, toAdapter } = await import("../lib/artifacts/peft.ts");
  const peft = await readPeft(folder);
  const { task, labels } = peft.exported ??
    { task: "imported", labels: numberedLabels(peft.outputs) };
  return toAdapter(peft, model, { method: "lora", task, labels, seed: 0 });
}

/**
 * Tokenizes texts; their labels are zeros, which prediction ignores.
 *
 * @param trained Tokens to which the texts of the training were truncated; null if unknown
 */
async function encode(
  texts: readonly TextInput[],
  model: string,
  trained: number | null,
): Promise<Examples> {
  const { architecture, maxLength, vocabSize } = await readModel(model);
  const { ModelTokenizer } = await import("../lib/glue/model_tokenizer.ts");
  const { tokenizerDefaults } = await import(
    "../lib/engine/models/registry.ts"
  );
  const tokenizer = await ModelTokenizer.load(
    model,
    tokenizerDefaults(architecture),
    Math.min(maxLength, trained ?? maxLength),
  );
  return {
    ...tokenizer.encodeAll(texts, vocabSize),
    labels: new Float32Array(texts.length),
  };
}

/** The result for one text, from its logits `[outputs]` and its class id or score. */
function resultOf(
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
