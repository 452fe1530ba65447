import { join } from "node:path";
import { z } from "zod";
import { readJsonFile } from "./json_file.ts";
import { readTraining, Training } from "./training.ts";

/** `training.json` of an adapter that was trained elsewhere: what has to be known to use it. */
export const Imported = z.strictObject({
  /** What it was trained as. */
  method: z.enum(["imported-lora", "imported-dylora"]),
  /** Name of the task that it is for. */
  task: z.string().min(1),
  /** Class names in the order of their numbers; null if the task is a regression. */
  labels: z.array(z.string()).min(2).nullable(),
  rank: z.int().positive(),
  alpha: z.number().positive(),
  /** The scale at rank b is alpha / b (`rank`), or alpha / `rank` at every b (`maximum`). */
  scaling: z.enum(["rank", "maximum"]),
  /** The seed that its scores go by. */
  seed: z.int().nonnegative(),
  /** No epochs are known. */
  selection: z.null(),
});

export type Imported = z.output<typeof Imported>;

/** What is known of how an adapter came to be. */
export type AdapterRecord = Training | Imported;

/** Checks a record before it is written. */
export function parseRecord(record: AdapterRecord): AdapterRecord {
  return isImported(record) ? Imported.parse(record) : Training.parse(record);
}

/**
 * Reads how an artifact of kind `adapter` came to be.
 *
 * @throws {SyntaxError} Naming the file, and the field that is wrong.
 */
export async function readRecord(folder: string): Promise<AdapterRecord> {
  const path = join(folder, "training.json");
  const { method } = await readJsonFile(
    path,
    z.looseObject({ method: z.string() }),
  );
  return isImported({ method })
    ? await readJsonFile(path, Imported)
    : await readTraining(folder);
}

function isImported(
  record: { readonly method: string },
): record is Imported {
  return record.method.startsWith("imported-");
}
