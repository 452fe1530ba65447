import { join } from "node:path";
import * as z from "zod";

/** The work of both sides of the epoch benchmark. */
export interface EpochWork {
  /** Folder of a Hugging Face model with its tokenizer. */
  readonly model: string;
  /** MRPC's `train.tsv`. */
  readonly data: string;
  /** Pads a batch to its longest sequence, or every example to the maximum. */
  readonly padding: "longest" | "max_length";
  readonly maxLength: number;
  readonly precision: "f32" | "bf16";
  readonly batch: number;
  readonly learningRate: number;
  readonly rank: number;
  readonly alpha: number;
  readonly threads: number;
}

const EpochTimes = z.strictObject({
  load: z.number().positive(),
  tokenize: z.number().positive(),
  train: z.number().positive(),
  steps: z.int().positive(),
  tokens: z.int().positive(),
  loss: z.number(),
  peak_bytes: z.int().positive(),
});

/** Seconds of each part, and the work done; `tokens` includes padding. */
export type EpochTimes = z.output<typeof EpochTimes>;

/**
 * Times one epoch of MRPC with PEFT, from text to trained, in a process of its
 * own.
 *
 * @param python Python of an environment that `setup.sh` made.
 */
export async function timePeerEpoch(
  python: string,
  { maxLength, learningRate, ...work }: EpochWork,
): Promise<EpochTimes> {
  const request = {
    ...work,
    max_length: maxLength,
    learning_rate: learningRate,
  };
  const { success, code, stdout } = await new Deno.Command(python, {
    args: [
      ...["-W", "ignore", join(import.meta.dirname!, "epoch.py")],
      JSON.stringify(request),
    ],
    stdout: "piped",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`The peer "${python}" ended with code ${code}`);
  return EpochTimes.parse(JSON.parse(new TextDecoder().decode(stdout)));
}
