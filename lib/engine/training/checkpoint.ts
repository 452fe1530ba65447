import * as z from "zod";
import { ifThere } from "../../files/files.ts";
import { SafetensorsFile } from "../safetensors/reader.ts";
import { writeSafetensors } from "../safetensors/writer.ts";
import { type Random, seededRandom } from "../random.ts";
import type { StateValues } from "./adamw.ts";

/** All that training needs to continue as if it had not been interrupted. */
export interface Checkpoint extends StateValues {
  readonly progress: TrainingProgress;
  /** Milliseconds of each step, `[steps]` */
  readonly stepMilliseconds: Float32Array;
  /**
   * Flat parameters of the best epoch so far, `[size]`, if epochs are
   * evaluated.
   */
  readonly best: Float32Array | undefined;
}

/** NaN where a metric is undefined; JSON writes null. */
const figure = z.number().nullable().transform((value) => value ?? NaN);

/**
 * Scores of the parameters after an epoch, on examples that they were not
 * trained on.
 */
export interface EpochScores {
  /** From 1. */
  epoch: number;
  /** Optimizer steps taken. */
  step: number;
  /** Score that selects the best epoch: higher is better. */
  score: number;
  /** In ascending order of rank. */
  ranks: {
    /** 0 without adapters. */
    rank: number;
    /** By name; NaN where a metric is undefined. */
    metrics: Record<string, number>;
  }[];
}

export const EpochScores = z.strictObject({
  epoch: z.int().min(1),
  step: z.int().min(1),
  score: z.number(),
  ranks: z.array(z.strictObject({
    rank: z.int().nonnegative(),
    metrics: z.record(z.string(), figure),
  })).min(1),
}) satisfies z.ZodType<EpochScores>;

/** The epoch with the highest score, the earliest on a tie. */
export function bestEpoch(
  epochs: readonly EpochScores[],
): EpochScores | undefined {
  return epochs.toSorted((a, b) => b.score - a.score)[0];
}

/** Progress of a training, apart from its tensors. */
export interface TrainingProgress {
  /** Optimizer steps taken. */
  step: number;
  /** Tokens seen, padding not counted. */
  tokens: number;
  /** Tokens computed, padding included. */
  paddedTokens: number;
  /** Floating-point operations, as `trainingFlops()` counts them. */
  flops: number;
  /** Mean loss since the previous entry, at regular steps. */
  losses: { step: number; loss: number }[];
  /** Sum of the losses since the last entry. */
  pendingLoss: number;
  /** At the start of the current epoch. */
  shuffleGenerator: Random["state"];
  /** After the last step. */
  rankGenerator: Random["state"];
  /** Seconds of training, over all attempts. */
  seconds: number;
  /** Scores of the epochs so far, if they are evaluated. */
  epochs: EpochScores[];
  /** Seconds of their evaluations, over all attempts. */
  evaluationSeconds: number;
}

const count = z.int().min(0).default(0);
const seconds = z.number().nonnegative().default(0);
const generator = z.tuple([z.int(), z.int(), z.int(), z.int()]).readonly();
const Progress = z.strictObject({
  step: count,
  tokens: count,
  paddedTokens: count,
  flops: z.number().nonnegative().default(0),
  losses: z.array(z.strictObject({ step: z.int().min(0), loss: z.number() }))
    .default([]),
  pendingLoss: z.number().default(0),
  shuffleGenerator: generator,
  rankGenerator: generator,
  seconds,
  epochs: z.array(EpochScores).default([]),
  evaluationSeconds: seconds,
}) satisfies z.ZodType<TrainingProgress>;

/** Progress before the first step. */
export function initialProgress(seed: number): TrainingProgress {
  return Progress.parse({
    shuffleGenerator: seededRandom(seed, "shuffle").state,
    rankGenerator: seededRandom(seed, "rank").state,
  });
}

/** Writes a checkpoint, replacing the previous one atomically. */
export function saveCheckpoint(
  path: string,
  { progress, best, ...others }: Checkpoint,
): void {
  const text = JSON.stringify(progress);
  const tensors = { ...others, ...best && { best } };
  writeSafetensors(path, tensors, {
    progress: text,
    checksum: checksum(text, tensors),
  });
}

/**
 * SHA-256 of everything in a checkpoint, since a training resumed from a
 * damaged one would look like any other.
 */
function checksum(
  progress: string,
  tensors: Readonly<Record<string, Float32Array>>,
): string {
  // Loaded here, since whoever reads artifacts imports the schema above.
  const { createHash } = globalThis.process.getBuiltinModule("node:crypto");
  const hash = createHash("sha256").update(progress);
  for (const name of Object.keys(tensors).sort()) {
    const tensor = tensors[name]!;
    hash.update(`${name} ${tensor.length} `).update(tensor);
  }
  return hash.digest("hex");
}

/**
 * Reads a checkpoint; undefined if there is none.
 *
 * @throws {SyntaxError} If the file is damaged.
 */
export function loadCheckpoint(path: string): Checkpoint | undefined {
  using file = ifThere(() => SafetensorsFile.open(path));
  if (file === undefined) return undefined;
  const progress = file.metadata.get("progress") ?? "";
  const tensors = new Map(
    file.tensors.keys().map((name) => [name, file.floats(name)]),
  );
  const expected = checksum(progress, Object.fromEntries(tensors));
  if (file.metadata.get("checksum") === expected) {
    // What has the right checksum is what saveCheckpoint() wrote.
    return {
      values: tensors.get("values")!,
      moment1: tensors.get("moment1")!,
      moment2: tensors.get("moment2")!,
      stepMilliseconds: tensors.get("stepMilliseconds")!,
      best: tensors.get("best"),
      progress: Progress.parse(JSON.parse(progress)),
    };
  }
  throw new SyntaxError(
    `Checkpoint "${path}" is damaged: its checksum is wrong`,
  );
}
