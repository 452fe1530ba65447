import { join } from "@std/path/posix/join";
import { type Adapter, readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import { digestOf } from "../artifacts/json_file.ts";
import {
  checkServed,
  type Choice,
  type ModuleRanks,
  readRanks,
} from "../artifacts/ranks.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { cutAdapter } from "../engine/adapters/registry.ts";
import { modulesOf, peftName } from "../engine/models/peft.ts";
import { methodName } from "../engine/schedules/registry.ts";
import type { InputArtifact, InputsOf, Stage } from "../pipeline/task.ts";
import { recommendedRank } from "./recommended_rank.ts";
import type { CUT_INPUTS, RankSettings } from "./settings.ts";

/** A stage that exports or merges an adapter. */
export type CuttingStage<More = unknown> = Stage<
  RankSettings,
  InputsOf<typeof CUT_INPUTS> & More
>;

/** An adapter, cut to the requested ranks. */
export interface CutAdapter {
  readonly adapter: Adapter;
  readonly ranks: ModuleRanks;
  /** Tensors of the requested epoch, each module cut to its rank. */
  readonly tensors: AdapterTensors;
}

/**
 * Reads the adapter of a stage, cut to the rank that its parameters, its input
 * `report` or its input `ranks` select.
 *
 * @throws {Error} If these contradict each other, belong to another adapter, or exceed its rank.
 */
export async function readCutAdapter(
  stage: Pick<CuttingStage, "params" | "inputs" | "log">,
): Promise<CutAdapter> {
  const { epoch } = stage.params;
  const adapter = await readAdapter(stage.inputs.adapter.path);
  const ranks = await requestedRanks(adapter, stage);
  const tensors = cutAdapter(
    tensorsOf(adapter, epoch),
    (module) => ranks.get(peftName(module))!,
  );
  return { adapter, ranks, tensors };
}

async function requestedRanks(
  adapter: Adapter,
  { params, inputs, log }: Pick<CuttingStage, "params" | "inputs" | "log">,
): Promise<ModuleRanks> {
  const { report, ranks } = inputs;
  const rank = params.rank ??
    (report === undefined || ranks !== undefined ? undefined : "recommended");
  if (rank === "recommended" && report === undefined) {
    throw new RangeError(
      '"rank: recommended" requires the input "report": connect a stage of the task "report"',
    );
  }
  if (report === undefined && params.split !== undefined) {
    throw new RangeError(
      'The parameter "split" requires "rank: recommended" and the input "report": connect a stage of the task "report"',
    );
  }
  if (ranks !== undefined) {
    if (rank !== undefined) {
      throw new RangeError(
        'The parameter "rank" and the input "ranks" exclude each other: remove one of them',
      );
    }
    const trained = join(inputs.adapter.path, "training.json");
    return await ranksByModule(ranks, adapter, {
      seed: adapter.training.seed,
      epoch: params.epoch,
      training: await digestOf(trained),
    });
  }
  const { training } = adapter;
  let one = rank ?? training.rank;
  if (one === "recommended") {
    const found = await recommendedRank(report!.path, training, params);
    if (found.caution !== undefined) log(found.caution);
    one = found.rank;
  }
  checkServed(one, training);
  const modules = modulesOf(Object.keys(adapter.tensors));
  return new Map(modules.map((module) => [module, one]));
}

/** Reads an artifact of kind `ranks` and checks that it was made for an adapter. */
async function ranksByModule(
  { path }: InputArtifact,
  { training, tensors }: Adapter,
  ours: Pick<Choice, "seed" | "epoch" | "training">,
): Promise<ModuleRanks> {
  const { task, method, modules: ranks, choice } = await readRanks(path);
  const own = methodName(training);
  if (task !== training.task || method !== own) {
    throw new Error(
      `The ranks were chosen for ${method} on "${task}", but the adapter is ${own} on "${training.task}"`,
    );
  }
  for (const field of ["seed", "epoch", "training"] as const) {
    if (choice === null || choice[field] === ours[field]) continue;
    throw new Error(
      `The ranks were chosen for an adapter with ${field} ${
        JSON.stringify(choice[field])
      }, but this adapter has ${field} ${
        JSON.stringify(ours[field])
      }: connect the ranks that were chosen for it`,
    );
  }
  const modules = new Set(modulesOf(Object.keys(tensors)));
  const [odd] = new Set(ranks.keys()).symmetricDifference(modules);
  if (odd !== undefined) {
    throw new Error(
      `The ranks and the adapter have different modules: "${odd}" is only in the ${
        modules.has(odd) ? "adapter" : "ranks"
      }`,
    );
  }
  for (const [module, rank] of ranks) {
    if (rank <= training.rank) continue;
    throw new RangeError(
      `Rank ${rank} of "${module}" exceeds the adapter's rank ${training.rank}; choose a rank from 1 to ${training.rank}`,
    );
  }
  return ranks;
}
