import type { GlueTask } from "./benchmark.ts";

/** Every name of a split, MNLI's both halves and the names that mean both included. */
export const SPLITS = [
  "train",
  "validation",
  "validation_matched",
  "validation_mismatched",
  "test",
  "test_matched",
  "test_mismatched",
] as const;

export type SplitName = typeof SPLITS[number];

/** Splits of a task that a name means: `validation` means both of MNLI's. */
export function splitsNamed(
  task: GlueTask,
  name: SplitName,
): readonly string[] {
  return Object.keys(task.tsvFiles).filter((split) =>
    split === name || split.startsWith(`${name}_`)
  );
}
