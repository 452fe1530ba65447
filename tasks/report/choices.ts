import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type { ChoiceResult } from "../../lib/report/result.ts";
import { readRanks } from "../artifacts/module_ranks.ts";
import { titleOf, variantOf } from "./results.ts";

/** Reads how ranks chosen by module score. */
export function readChoices(
  ranks: readonly InputArtifact[],
): Promise<ChoiceResult[]> {
  return Promise.all(ranks.map(readChoice));
}

async function readChoice(
  { path, stage, matrix }: InputArtifact,
): Promise<ChoiceResult> {
  const { task, method, modules, choice } = await readRanks(path);
  if (choice === null) {
    throw new TypeError(
      `The ranks of "${stage}" were set by hand and never scored: connect a stage of choose-ranks`,
    );
  }
  const { split, epoch, seed, budget, chosen, even } = choice;
  return {
    task,
    title: titleOf(task),
    split,
    epoch,
    method,
    variant: variantOf(matrix),
    seed,
    budget,
    modules,
    chosen,
    even,
  };
}
