import { type Adapter, readAdapter, tensorsOf } from "../artifacts/adapter.ts";
import { type ModuleRanks, readRanks } from "../artifacts/ranks.ts";
import { checkServed } from "../artifacts/training.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { cutAdapter } from "../engine/adapters/registry.ts";
import { modulesOf, peftName } from "../engine/models/peft.ts";
import type { InputArtifact, InputsOf, Stage } from "../pipeline/task.ts";
import { recommendedRank } from "../ranks/recommended_rank.ts";
import type { CUT_INPUTS, RankSettings } from "./settings.ts";

/** A stage that exports or merges an adapter. */
export type CuttingStage<More = unknown> = Stage<
  RankSettings,
  InputsOf<typeof CUT_INPUTS> & More
>;

/** An adapter, cut to the requested ranks. */
export interface CutAdapter {
  readonly adapter: Adapter;
  /** Rank of each module. */
  readonly ranks: ModuleRanks;
  /** The different ranks, ascending; several only if chosen by module. */
  readonly used: readonly number[];
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
  stage: CuttingStage,
): Promise<CutAdapter> {
  const { params: { epoch }, inputs } = stage;
  const adapter = await readAdapter(inputs.adapter.path);
  const rank = await requestedRank(adapter, stage);
  const ranks = inputs.ranks === undefined
    ? new Map(
      modulesOf(Object.keys(adapter.tensors)).map((module) => [module, rank]),
    )
    : await ranksByModule(inputs.ranks, adapter);
  const tensors = cutAdapter(
    tensorsOf(adapter, epoch),
    (module) => ranks.get(peftName(module))!,
  );
  const used = [...new Set(ranks.values())].sort((a, b) => a - b);
  return { adapter, ranks, used, tensors };
}

/** The rank for all modules, unless the input `ranks` has them. */
async function requestedRank(
  { training }: Adapter,
  { params, inputs: { report, ranks }, log }: CuttingStage,
): Promise<number> {
  const { rank = report && !ranks ? "recommended" : training.rank } = params;
  const given = rank === "recommended"
    ? '"rank: recommended" requires'
    : params.split !== undefined
    ? 'The parameter "split" requires "rank: recommended" and'
    : undefined;
  if (given !== undefined && report === undefined) {
    throw new RangeError(
      `${given} the input "report": connect a stage of the task "report"`,
    );
  }
  if (ranks !== undefined && params.rank !== undefined) {
    throw new RangeError(
      'The parameter "rank" and the input "ranks" exclude each other: remove one of them',
    );
  }
  if (rank !== "recommended") {
    checkServed(rank, training);
    return rank;
  }
  const found = await recommendedRank(report!.path, training, params);
  if (found.caution !== undefined) log(found.caution);
  return found.rank;
}

/** Reads an artifact of kind `ranks` and checks that it fits an adapter. */
export async function ranksByModule(
  { path }: InputArtifact,
  { training, tensors }: Adapter,
): Promise<ModuleRanks> {
  const { task, modules: ranks } = await readRanks(path);
  if (task !== training.task) {
    throw new Error(
      `The ranks were chosen for "${task}", but the adapter is for "${training.task}"`,
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
