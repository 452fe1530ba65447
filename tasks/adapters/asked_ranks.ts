import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type { Adapter } from "../artifacts/adapter.ts";
import { type ModuleRanks, modulesOf } from "../artifacts/module_ranks.ts";
import { checkRank } from "../artifacts/rank.ts";
import { ranksByModule } from "./ranks_by_module.ts";
import {
  type RecommendationRequest,
  recommendedRank,
} from "./recommended_rank.ts";

/** How a stage is told which ranks to take. */
export interface RankRequest extends RecommendationRequest {
  /** Of every module; by default the adapter's own. */
  readonly rank?: number | "recommended" | undefined;
  /** The report that recommends it. */
  readonly report: InputArtifact | undefined;
  /** Ranks by module, in place of one for all. */
  readonly ranks: InputArtifact | undefined;
}

/**
 * The rank at which each module of an adapter is to be taken.
 *
 * @throws {TypeError} If the request contradicts itself, or its inputs do not belong to the adapter.
 * @throws {RangeError} If a rank is beyond the adapter's own.
 */
export async function askedRanks(
  { training, tensors }: Pick<Adapter, "training" | "tensors">,
  request: RankRequest,
): Promise<ModuleRanks> {
  const { rank, report, ranks, epoch } = request;
  const modules = modulesOf(Object.keys(tensors));
  if ((rank === "recommended") !== (report !== undefined)) {
    throw new TypeError(
      rank === "recommended"
        ? '"rank: recommended" needs the input "report": connect a stage of report'
        : 'The input "report" is of use with "rank: recommended" only',
    );
  }
  for (const name of ["variant", "split"] as const) {
    if (rank === "recommended" || request[name] === undefined) continue;
    throw new TypeError(
      `The parameter "${name}" is of use with "rank: recommended" only`,
    );
  }
  if (ranks !== undefined) {
    if (rank !== undefined) {
      throw new TypeError(
        'Give either the parameter "rank" or the input "ranks", not both',
      );
    }
    return await ranksByModule(ranks, { training, epoch, modules });
  }
  const one = report === undefined
    ? rank as number | undefined ?? training.rank
    : await recommendedRank(report.path, training, request);
  checkRank(one, training.rank);
  return new Map(modules.map((module) => [module, one]));
}
