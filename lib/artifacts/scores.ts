import { join } from "@std/path/posix/join";
import * as z from "zod";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { writeSafetensors } from "../engine/safetensors/writer.ts";
import { Provenance } from "../engine/schedules/registry.ts";
import { EpochScores } from "../engine/training/checkpoint.ts";
import { problemOf } from "../problems/registry.ts";
import { TASK_FIELDS } from "./classes.ts";
import { count, digest, jsonFile } from "./json_file.ts";
import { Epoch, UsedPrecision } from "./training.ts";

/** Files of an artifact of kind `scores`. */
export const SCORES_FILES = ["scores.json", "logits.safetensors"] as const;

/** `scores.json`: the metrics of an adapter at each rank. */
export const ScoresInfo = z.strictObject({
  ...TASK_FIELDS,
  /** Where the scored adapter or model comes from. */
  provenance: Provenance,
  seed: z.int().nonnegative(),
  /** SHA-256 of `training.json` of the scored artifact. */
  training: digest,
  /** Whether the weights are those of the last epoch or of the best one. */
  epoch: Epoch,
  split: z.string().min(1),
  /** True if the threshold is the best one for these examples. */
  isBestThreshold: z.literal(true).exactOptional(),
  /** Precision of the evaluation; the training may have used another. */
  precision: UsedPrecision,
  examples: count,
  /** Tokens of all examples, without padding. */
  tokens: count,
  /**
   * Floating-point operations of the pass over all ranks: two per multiply-add
   * of a matrix product.
   */
  flops: z.number().positive(),
  /**
   * In ascending order of rank; an undefined metric is NaN, and null in the
   * file.
   */
  ranks: EpochScores.shape.ranks.refine(
    (ranks) =>
      ranks.every(({ rank }, i) => i === 0 || rank > ranks[i - 1]!.rank),
    "Expected ascending ranks",
  ),
});

export type ScoresInfo = z.output<typeof ScoresInfo>;

const infoFile = jsonFile("scores.json", ScoresInfo);

/** Reads `scores.json` of an artifact of kind `scores`. */
export const readScores = infoFile.read;

/** The file as it is: an undefined metric is null. */
export type ScoresFile = z.input<typeof ScoresInfo>;

/** The logits and labels from which scores are computed. */
export interface Outputs {
  /**
   * What the head gives for each unit, flat: `[ranks, units, outputs]`; of
   * examples of several sequences, that of one after the other.
   */
  readonly logits: Float32Array;
  /**
   * Targets, `[units, width]`, flat: class ids, scores, marks of classes, or
   * marks of texts to write.
   */
  readonly labels: Float32Array;
  /**
   * Of words, where those of each text start, `[texts + 1]`, and their numbers
   * in their text, `[words]`.
   */
  readonly words?: {
    readonly starts: Int32Array;
    readonly numbers: Int32Array;
  } | undefined;
}

/**
 * Writes an artifact of kind `scores`.
 *
 * @throws {RangeError} If a logit is not finite.
 */
export async function writeScores(
  folder: string,
  info: ScoresInfo,
  { logits, labels, words }: Outputs,
): Promise<void> {
  const odd = logits.find((logit) => !Number.isFinite(logit));
  if (odd !== undefined) {
    throw new RangeError(
      `Cannot save the scores: a logit is ${odd}; train with a lower learning rate`,
    );
  }
  const { width } = problemOf(info);
  const ranks = info.ranks.length;
  const units = labels.length / width;
  const shape = [ranks, units, logits.length / (ranks * units)];
  writeSafetensors(join(folder, "logits.safetensors"), {
    logits: { shape, values: logits },
    labels: width === 1 ? labels : { shape: [units, width], values: labels },
    ...words,
  });
  await infoFile.write(folder, info);
}

/** Reads logits and labels of an artifact of kind `scores`. */
export function readOutputs(folder: string): Outputs {
  using file = SafetensorsFile.open(join(folder, "logits.safetensors"));
  return {
    logits: file.floats("logits"),
    labels: file.floats("labels"),
    ...(file.tensors.has("starts") && {
      words: { starts: file.ints("starts"), numbers: file.ints("numbers") },
    }),
  };
}
