import * as z from "zod";
import { count, digest, jsonFile } from "./json_file.ts";
import { Epoch, UsedPrecision } from "./training.ts";

/** Files of an artifact of kind `ranks`. */
export const RANKS_FILES = ["ranks.json"] as const;

/** Rank of each module. */
export type ModuleRanks = ReadonlyMap<string, number>;

/** Name of an adapted module, as the suffix that PEFT matches: `layer.0.attention.self.query`. */
const Module = z.string().regex(/^[\w-]+(\.[\w-]+)+$/);

/** A loss or metric; NaN is null in the file. */
const figure = z.number().nullable().transform((value) => value ?? NaN);

/** Size and quality of an adapter at some ranks. */
const Scores = {
  /** Number of values in all lora_A and lora_B. */
  parameters: count,
  loss: figure,
  metrics: z.record(z.string(), figure),
};

/** How ranks were chosen, and how the adapter scores at them. */
const Choice = z.strictObject({
  /** Seed of the adapter's training. */
  seed: z.int().nonnegative(),
  /** SHA-256 of the adapter's `training.json`. */
  training: digest,
  /** Epoch of the adapter. */
  epoch: Epoch,
  /** Maximum number of values in all lora_A and lora_B. */
  budget: count,
  /** How the ranks were searched; null if they were given. */
  selection: z.strictObject({
    split: z.string().min(1),
    examples: count,
    /** Mean loss with rank 1 in every module. */
    start: figure,
    /** Modules whose rank was raised by one, in order, with the loss after each move; the ranks with the smallest loss are chosen. */
    moves: z.array(z.strictObject({ module: Module, loss: figure })),
  }).nullable(),
  /** Precision of the search and of the scores. */
  precision: UsedPrecision,
  /** Split on which the chosen ranks were scored. */
  split: z.string().min(1),
  examples: count,
  chosen: z.strictObject(Scores),
  /** Scores at one rank for all modules: the largest within the budget, and the adapter's own. */
  even: z.array(z.strictObject({ rank: count, ...Scores })).min(1),
});

export type Choice = z.output<typeof Choice>;

/** `ranks.json`: a rank for each module of an adapter. */
const RanksInfo = z.strictObject({
  /** Task for which the ranks were chosen. */
  task: z.string().min(1),
  /** Method of the adapter for which they were chosen; null if for any. */
  method: z.string().min(1).nullable(),
  modules: z.record(Module, count),
  /** Intrinsic dimension of the hidden states of the embeddings and of each layer, if the ranks were estimated from these. */
  dimensions: z.array(z.number()).optional(),
  /** Null for ranks that were estimated or written by hand. */
  choice: Choice.nullable(),
});

/** Content of an artifact of kind `ranks`. */
type ChosenRanks = Omit<z.output<typeof RanksInfo>, "modules"> & {
  readonly modules: ModuleRanks;
};

const ranksFile = jsonFile("ranks.json", RanksInfo);

/** Writes an artifact of kind `ranks`. */
export async function writeRanks(
  folder: string,
  { modules, ...rest }: ChosenRanks,
): Promise<void> {
  const info = { ...rest, modules: Object.fromEntries(modules) };
  await ranksFile.write(folder, info);
}

/** Reads an artifact of kind `ranks`. */
export async function readRanks(folder: string): Promise<ChosenRanks> {
  const { modules, ...rest } = await ranksFile.read(folder);
  return { ...rest, modules: new Map(Object.entries(modules)) };
}
