import { join } from "node:path";
import { Report } from "../../lib/report/report.ts";
import { variantText } from "../../lib/report/text/words.ts";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type { Adapter } from "../artifacts/adapter.ts";
import type { Epoch } from "../artifacts/epoch.ts";
import { readJsonFile } from "../artifacts/json_file.ts";
import { type ModuleRanks, modulesOf } from "../artifacts/module_ranks.ts";
import { checkRank } from "../artifacts/rank.ts";
import { servedRanks } from "../artifacts/training.ts";
import { ranksByModule } from "./ranks_by_module.ts";

/** How a stage is told which ranks to take. */
export interface RankRequest {
  /** Of every module; by default the adapter's own. */
  readonly rank?: number | "recommended" | undefined;
  /** The report that recommends it. */
  readonly report: InputArtifact | undefined;
  /** Ranks by module, in place of one for all. */
  readonly ranks: InputArtifact | undefined;
  /** Which of several variants of a method is meant by the report: `mode=all`. */
  readonly variant?: string | undefined;
  /** Which of several splits that the report is on is meant: `validation_matched`. */
  readonly split?: string | undefined;
  /** The epoch that is taken, whose scores recommend it. */
  readonly epoch: Epoch;
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
    : await recommendedRank(report, training, request);
  checkRank(one, training.rank);
  return new Map(modules.map((module) => [module, one]));
}

async function recommendedRank(
  { path }: InputArtifact,
  training: Adapter["training"],
  { epoch, variant, split }: RankRequest,
): Promise<number> {
  const { task, method } = training;
  const file = join(path, "report.json");
  const { comparisons } = await readJsonFile(file, Report);
  const found = comparisons.filter((it) =>
    it.task === task && it.epoch === epoch &&
    (split === undefined || it.split === split)
  )
    .flatMap(({ split, methods }) =>
      methods.filter((other) =>
        other.method === method &&
        (variant === undefined || variantText(other.variant) === variant)
      ).flatMap(({ variant, recommendation }) =>
        recommendation === null ? [] : [{
          split,
          variant: variantText(variant),
          rank: recommendation.rank,
        }]
      )
    );
  const ranks = [...new Set(found.map(({ rank }) => rank))];
  if (ranks.length === 1) {
    const [rank] = ranks as [number];
    if (servedRanks(training).includes(rank)) return rank;
    throw new TypeError(
      `"${file}" recommends the ${method} of rank ${rank}, and the adapter is another training, of rank ${training.rank}: connect that one, or give "rank" as a number`,
    );
  }
  const of = `${method}${variant ? ` (${variant})` : ""} on "${task}"${
    split === undefined ? "" : `, split "${split}"`
  }`;
  if (ranks.length === 0) {
    throw new TypeError(
      `"${file}" recommends no rank of ${of}; give "rank" as a number`,
    );
  }
  const list = found.map(({ split, variant, rank }) =>
    `${rank} on ${split}${variant ? ` for ${variant}` : ""}`
  ).join(", ");
  throw new TypeError(
    `"${file}" recommends several ranks of ${of} (${list}); say which by "variant" or "split", or give "rank" as a number`,
  );
}
