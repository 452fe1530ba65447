import { join } from "node:path";
import * as z from "zod";
import { UsedPrecision } from "./training.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { outputsOf, TASK_FIELDS } from "./classes.ts";
import { digest, readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files of an artifact of kind `scores`. */
export const SCORES_FILES = ["scores.json", "logits.safetensors"] as const;

const count = z.int().positive();

/** `scores.json`: the metrics of an adapter at each rank. */
export const ScoresInfo = z.strictObject({
  ...TASK_FIELDS,
  /** The method that made it: `dylora`, `lora`, `lora-svd`, `head`, `full`. */
  method: z.string().regex(/^[a-z][a-z0-9-]*$/),
  seed: z.int().nonnegative(),
  /** SHA-256 of `training.json` of the scored artifact. */
  training: digest,
  /** Whether the weights are those of the last epoch or of the best one. */
  epoch: z.enum(["last", "best"]),
  split: z.string().min(1),
  /** Precision of the evaluation; the training may have used another. */
  precision: UsedPrecision,
  examples: count,
  /** Tokens of all examples, without padding. */
  tokens: count,
  /** Floating-point operations of the pass over all ranks: two per multiply-add of a matrix product. */
  flops: z.number().positive(),
  /** In ascending order of rank. */
  ranks: z.array(z.strictObject({
    /** 0 for a model without adapters. */
    rank: z.int().nonnegative(),
    /** Metrics by name. An undefined metric is NaN, and null in the file. */
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

export type ScoresInfo = z.output<typeof ScoresInfo>;

/** The file as it is: an undefined metric is null. */
export type ScoresFile = z.input<typeof ScoresInfo>;

/** The logits and labels from which scores are computed. */
export interface Outputs {
  /** `[ranks, examples, outputs]`; a regression has one output. */
  readonly logits: Float32Array;
  /** Class ids or scores, `[examples]`. */
  readonly labels: Float32Array;
}

/**
 * Writes an artifact of kind `scores`.
 *
 * @throws {TypeError} If the outputs do not match the scores.
 */
export async function writeScores(
  folder: string,
  info: ScoresInfo,
  { logits, labels }: Outputs,
): Promise<void> {
  const shape = logitsShape(info);
  const fault = outputsFault(info, { logits, labels });
  if (fault !== undefined) {
    throw new TypeError(`Cannot save the scores: ${fault}`);
  }
  writeSafetensors(join(folder, "logits.safetensors"), {
    logits: { shape, values: logits },
    labels: { shape: [info.examples], values: labels },
  });
  await writeJsonFile(join(folder, "scores.json"), info, ScoresInfo);
}

/** Reads `scores.json` of an artifact of kind `scores`. */
export function readScores(folder: string): Promise<ScoresInfo> {
  return readJsonFile(join(folder, "scores.json"), ScoresInfo);
}

/**
 * Reads logits and labels of an artifact of kind `scores`.
 *
 * @throws {SyntaxError} If they do not match its `scores.json`.
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
  throw new SyntaxError(`"${path}" does not match "scores.json": ${fault}`);
}

function logitsShape({ ranks, examples, labels }: ScoresInfo): number[] {
  return [ranks.length, examples, outputsOf(labels)];
}

function outputsFault(
  info: ScoresInfo,
  { logits, labels }: Outputs,
): string | undefined {
  const shape = logitsShape(info);
  const size = shape.reduce((product, length) => product * length, 1);
  if (logits.length !== size) {
    return `it has ${logits.length} logits, expected shape [${shape}]`;
  }
  if (labels.length !== info.examples) {
    return `it has ${labels.length} labels, expected ${info.examples}`;
  }
  const odd = logits.find((logit) => !Number.isFinite(logit));
  if (odd !== undefined) return `a logit is ${odd}`;
  const wrong = labels.find((label) =>
    info.labels ? !(label in info.labels) : !Number.isFinite(label)
  );
  return wrong === undefined
    ? undefined
    : `label ${wrong} is not ${info.labels ? "a class id" : "a finite number"}`;
}
