import { join } from "node:path";
import { z } from "zod";
import { TrainedAs, UsedPrecision } from "./training.ts";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files of an artifact of kind `ranks`. */
export const RANKS_FILES = ["ranks.json"] as const;

/** A projection that has an adapter: the end of its name in PEFT, `layer.0.attention.self.query`. */
const MODULE = /layer\.\d+\.attention\.self\.(?:query|value)/;

/** Rank of each module. */
export type ModuleRanks = ReadonlyMap<string, number>;

const count = z.int().positive();

/** A module, as it stands in a file. */
const Module = z.string().regex(new RegExp(`^${MODULE.source}$`));

/** A loss; null in the file where it is no number. */
const figure = z.number().nullable().transform((value) => value ?? NaN);

/** How a choice of ranks scores. */
const Scores = {
  /** Values in all lora_A and lora_B. */
  parameters: count,
  loss: figure,
  metrics: z.record(z.string(), figure),
};

/** How ranks were chosen, and what the choice came to. */
const Choice = z.strictObject({
  /** Of the training whose adapter it is. */
  seed: z.int().nonnegative(),
  /** How that training differs from others of its method. */
  trained: TrainedAs,
  /** The epoch whose adapter it is. */
  epoch: z.enum(["last", "best"]),
  /** Most values that lora_A and lora_B might have. */
  budget: count,
  selection: z.strictObject({
    split: z.string().min(1),
    examples: count,
    /** Mean loss with rank 1 in every module. */
    start: figure,
    /** The modules whose rank was raised by one, in their order, and the loss after it; the ranks of the smallest loss are taken. */
    moves: z.array(z.strictObject({ module: Module, loss: figure })),
  }),
  /** In which ranks were chosen and scored. */
  precision: UsedPrecision,
  /** Split that the choice was scored on. */
  split: z.string().min(1),
  examples: count,
  chosen: z.strictObject(Scores),
  /** One rank for all modules: the largest within the budget, and the adapter's own. */
  even: z.array(z.strictObject({ rank: count, ...Scores })).min(1),
});

export type Choice = z.output<typeof Choice>;

/** `ranks.json`: a rank for each module of an adapter. */
const RanksInfo = z.strictObject({
  /** Name of the task that they were chosen for. */
  task: z.string().min(1),
  /** How the adapter was made that they were chosen for. */
  method: z.string().min(1),
  modules: z.record(Module, count),
  /** Null for ranks that were set by hand. */
  choice: Choice.nullable(),
});

/** What an artifact of kind `ranks` says. */
interface ChosenRanks {
  readonly task: string;
  readonly method: string;
  readonly modules: ModuleRanks;
  /** Null for ranks that were set by hand. */
  readonly choice: Choice | null;
}

/** Writes an artifact of kind `ranks`. */
export async function writeRanks(
  folder: string,
  { modules, ...rest }: ChosenRanks,
): Promise<void> {
  const info = { ...rest, modules: Object.fromEntries(modules) };
  // Checked as the reader will: NaN becomes null in the text.
  RanksInfo.parse(JSON.parse(JSON.stringify(info)));
  await writeJsonFile(join(folder, "ranks.json"), info);
}

/** Reads an artifact of kind `ranks`. */
export async function readRanks(folder: string): Promise<ChosenRanks> {
  const path = join(folder, "ranks.json");
  const { modules, ...rest } = await readJsonFile(path, RanksInfo);
  return { ...rest, modules: new Map(Object.entries(modules)) };
}

/** The module that a tensor of LoRA belongs to; undefined for any other tensor. */
export function moduleOf(tensor: string): string | undefined {
  return tensor.includes(".lora_") ? MODULE.exec(tensor)?.[0] : undefined;
}

/** The modules of an adapter, by the names of its tensors, in their order. */
export function modulesOf(tensors: Iterable<string>): string[] {
  return [
    ...new Set([...tensors].flatMap((name) => moduleOf(name) ?? [])),
  ];
}

/**
 * Makes sure that an adapter has the rank asked for.
 *
 * @param largest The adapter's own rank
 * @param module Where the rank is asked for, if not everywhere
 * @throws {RangeError} If it is beyond that.
 */
export function checkRank(
  rank: number,
  largest: number,
  module?: string,
): void {
  if (rank <= largest) return;
  const of = module === undefined ? "" : ` of "${module}"`;
  throw new RangeError(
    `Rank ${rank}${of} is beyond the adapter's rank ${largest}`,
  );
}
