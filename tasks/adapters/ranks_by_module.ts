import { isDeepStrictEqual } from "node:util";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type { AdapterRecord } from "../artifacts/adapter_record.ts";
import type { Epoch } from "../artifacts/epoch.ts";
import {
  type Choice,
  type ModuleRanks,
  readRanks,
} from "../artifacts/module_ranks.ts";
import { checkRank } from "../artifacts/rank.ts";
import { trainedAs } from "../artifacts/trained_as.ts";

/** The adapter that ranks by module are to be applied to. */
export interface RankedAdapter {
  readonly training: AdapterRecord;
  /** Of its two, the one that is taken. */
  readonly epoch: Epoch;
  readonly modules: readonly string[];
}

/**
 * Reads ranks by module for an adapter.
 *
 * @throws {TypeError} If they were chosen for another adapter, or name other modules.
 * @throws {RangeError} If a rank is beyond the adapter's own.
 */
export async function ranksByModule(
  { path }: InputArtifact,
  { training, epoch, modules }: RankedAdapter,
): Promise<ModuleRanks> {
  const { task, method, rank } = training;
  const chosen = await readRanks(path);
  if (chosen.task !== task || chosen.method !== method) {
    throw new TypeError(
      `The ranks were chosen for ${chosen.method} on "${chosen.task}", but the adapter is ${method} on "${task}"`,
    );
  }
  if (chosen.choice !== null) checkChoice(chosen.choice, training, epoch);
  const strangers = new Set(chosen.modules.keys()).symmetricDifference(
    new Set(modules),
  );
  if (strangers.size > 0) {
    throw new TypeError(
      `The ranks and the adapter do not name the same modules: "${
        [...strangers][0]
      }" is in one of them only`,
    );
  }
  for (const [module, own] of chosen.modules) checkRank(own, rank, module);
  return chosen.modules;
}

/**
 * Makes sure that ranks were chosen for this very adapter: those of another
 * training, or of another epoch of it, say nothing about this one.
 */
function checkChoice(
  choice: Choice,
  training: AdapterRecord,
  epoch: Epoch,
): void {
  const theirs = { seed: choice.seed, epoch: choice.epoch, ...choice.trained };
  const ours = { seed: training.seed, epoch, ...trainedAs(training) };
  for (const [what, own] of Object.entries(ours)) {
    const other = theirs[what as keyof typeof theirs];
    if (isDeepStrictEqual(own, other)) continue;
    throw new TypeError(
      `The ranks were chosen for an adapter of ${what} ${
        JSON.stringify(other)
      }, but this one is of ${what} ${
        JSON.stringify(own)
      }: connect the ranks that were chosen for it`,
    );
  }
}
