import { join } from "node:path";
import { z } from "zod";
import { readJsonFile, writeJsonFile } from "./json_file.ts";

/** Files of an artifact of kind `ranks`. */
export const RANKS_FILES = ["ranks.json"] as const;

/** A projection that has an adapter: the end of its name in PEFT, `layer.0.attention.self.query`. */
const MODULE = /layer\.\d+\.attention\.self\.(?:query|value)/;

/** Rank of each module. */
export type ModuleRanks = ReadonlyMap<string, number>;

/** `ranks.json`: a rank for each module of an adapter. */
const RanksInfo = z.strictObject({
  /** Name of the task that they were chosen for. */
  task: z.string().min(1),
  /** How the adapter was made that they were chosen for. */
  method: z.string().min(1),
  modules: z.record(
    z.string().regex(new RegExp(`^${MODULE.source}$`)),
    z.int().positive(),
  ),
});

/** What an artifact of kind `ranks` says. */
export interface ChosenRanks {
  readonly task: string;
  readonly method: string;
  readonly modules: ModuleRanks;
}

/** Writes an artifact of kind `ranks`. */
export async function writeRanks(
  folder: string,
  { modules, ...rest }: ChosenRanks,
): Promise<void> {
  await writeJsonFile(
    join(folder, "ranks.json"),
    RanksInfo.parse({ ...rest, modules: Object.fromEntries(modules) }),
  );
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
