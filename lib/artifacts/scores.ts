import { join } from "node:path";
import { z } from "zod";
import { UsedPrecision } from "./training.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files of an artifact of kind `scores`. */
export const SCORES_FILES = ["scores.json", "logits.safetensors"] as const;

const count = z.int().positive();

/** `scores.json`: how well an adapter does at each rank. */
const ScoresInfo = z.strictObject({
  /** Name of the GLUE task, or the user's own name for the data. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  /** How it was made: `dylora`, `lora`, `lora-svd`, `head`, `full`. */
  method: z.string().regex(/^[a-z][a-z0-9-]*$/),
  seed: z.int().nonnegative(),
  /** SHA-256 of the `training.json` of what is scored. */
  training: z.string().regex(/^[0-9a-f]{64}$/),
  /** Whether the adapter is that of the last epoch or of the best one. */
  epoch: z.enum(["last", "best"]),
  split: z.string().min(1),
  /** Of the evaluation, which may be another than that of the training. */
  precision: UsedPrecision,
  examples: count,
  /** Tokens of all examples, padding not counted. */
  tokens: count,
  /** Floating-point operations of the pass over all ranks: two for each multiply-add of a matrix product. */
  flops: z.number().positive(),
  /** In ascending order of rank. */
  ranks: z.array(z.strictObject({
    /** 0 for a model without adapters. */
    rank: z.int().nonnegative(),
    /** By name; NaN, which JSON writes as null, where a metric is undefined. */
    metrics: z.record(
      z.string().regex(/^[a-z][a-z0-9_]*$/),
      z.number().nullable().transform((value) => value ?? NaN),
    ),
  })).min(1).refine(
    (ranks) =>
      ranks.every(({ rank }, i) => i === 0 || rank > ranks[i - 1]!.rank),
    "Expected ascending ranks",
  ),
});

/** What `scores.json` says. */
export type ScoresInfo = z.output<typeof ScoresInfo>;

/** The outputs behind the scores. */
export interface Outputs {
  /** `[ranks, examples, labels]`, one label if the task is a regression. */
  readonly logits: Float32Array;
  /** Class numbers or scores, `[examples]`. */
  readonly labels: Float32Array;
}

/**
 * Writes an artifact of kind `scores`.
 *
 * @throws {TypeError} If the outputs do not fit the scores.
 */
export async function writeScores(
  folder: string,
  info: ScoresInfo,
  { logits, labels }: Outputs,
): Promise<void> {
  const shape = logitsShape(info);
  const fault = outputsFault(info, { logits, labels });
  if (fault !== undefined) throw new TypeError(`Cannot save scores: ${fault}`);
  writeSafetensors(join(folder, "logits.safetensors"), {
    logits: { shape, values: logits },
    labels: { shape: [info.examples], values: labels },
  });
  // Checked as the reader will: NaN becomes null in the text.
  ScoresInfo.parse(JSON.parse(JSON.stringify(info)));
  await writeJsonFile(join(folder, "scores.json"), info);
}

/** Reads the scores of an artifact of kind `scores`. */
export function readScores(folder: string): Promise<ScoresInfo> {
  return readJsonFile(join(folder, "scores.json"), ScoresInfo);
}

/**
 * Reads the outputs of an artifact of kind `scores`.
 *
 * @throws {SyntaxError} If they do not fit its `scores.json`.
 */
export function readOutputs(folder: string, info: ScoresInfo): Outputs {
  const path = join(folder, "logits.safetensors");
  using file = SafetensorsFile.open(path);
  const outputs = {
    logits: file.floats("logits"),
    labels: file.floats("labels"),
  };
  const shape = file.tensors.get("logits")!.shape;
  const fault = String(shape) === String(logitsShape(info))
    ? outputsFault(info, outputs)
    : `logits have shape [${shape}], expected [${logitsShape(info)}]`;
  if (fault === undefined) return outputs;
  throw new SyntaxError(`"${path}" does not fit "scores.json": ${fault}`);
}

function logitsShape({ ranks, examples, labels }: ScoresInfo): number[] {
  return [ranks.length, examples, labels?.length ?? 1];
}

function outputsFault(
  info: ScoresInfo,
  { logits, labels }: Outputs,
): string | undefined {
  const shape = logitsShape(info);
  const size = shape.reduce((product, length) => product * length, 1);
  if (logits.length !== size) {
    return `${logits.length} logits, expected [${shape}]`;
  }
  if (labels.length !== info.examples) {
    return `${labels.length} labels, expected ${info.examples}`;
  }
  const odd = logits.find((logit) => !Number.isFinite(logit));
  if (odd !== undefined) return `a logit is ${odd}`;
  const wrong = labels.find((label) =>
    info.labels ? !(label in info.labels) : !Number.isFinite(label)
  );
  return wrong === undefined ? undefined : `label ${wrong} is not allowed`;
}
