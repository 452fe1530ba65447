import { join } from "@std/path/posix/join";
import {
  type AdapterRecord,
  type Epoch,
  servedRanks,
  settingsOf,
} from "../artifacts/training.ts";
import { methodName, provenanceOf } from "../engine/schedules/registry.ts";
import type { Comparison, Report, ScoreSummary } from "../report/report.ts";
import type { InputsOf, Stage } from "../pipeline/task.ts";
import { variantText } from "../report/methods.ts";
import type { RankChoice, REPORT_INPUT, ScoredRanks } from "./settings.ts";

/**
 * Selects one of the recommendations of a report: that of a split, if there are
 * several, for an epoch of the adapter.
 */
interface RecommendationRequest {
  readonly epoch: Epoch;
  readonly split?: string | undefined;
}

/** Thrown if a report does not recommend exactly one rank for an adapter. */
export class NoRecommendationError extends Error {}

/** The rank that a report recommends for an adapter. */
export interface RecommendedRank {
  readonly rank: number;
  /**
   * A sentence for the log if the report says that nothing was learnt, so that
   * no rank is better than another.
   */
  readonly caution: string | undefined;
  /**
   * Of texts that may have several labels, the threshold that scores best at
   * the rank, if the report's scores have the best ones.
   */
  readonly threshold: number | undefined;
}

/**
 * The rank that a report recommends for an adapter.
 *
 * @param folder An artifact of kind `report`
 * @throws {NoRecommendationError} If it recommends no rank, several, or the
 * rank of another training.
 */
export async function recommendedRank(
  folder: string,
  training: AdapterRecord,
  request: RecommendationRequest,
): Promise<RecommendedRank> {
  const method = methodName(provenanceOf(training));
  const report = await readReport(folder);
  const reported = variantsFor(report, training, request)
    .flatMap(({ recommendation, ...it }) =>
      recommendation ? [{ ...it, rank: recommendation.rank }] : []
    );
  const matching = reported.filter(({ other }) => other === undefined);
  const ranks = [...new Set(matching.map(({ rank }) => rank))];
  const [rank] = ranks;
  const of = inWords(training, request);
  if (rank === undefined) {
    const other = reported[0]?.other;
    throw new NoRecommendationError(
      other === undefined
        ? lackingEpoch(report, training, request) ??
          `The report recommends no rank for ${of}; give "rank" as a number`
        : `The report recommends a rank for ${method} with ${other.variant}, but the adapter was trained with ${other.training}: connect an adapter with ${other.variant}, or give "rank" as a number`,
    );
  }
  if (ranks.length > 1) {
    const list = matching.map(({ comparison, variant, rank }) => {
      const text = variantText(variant);
      return `${rank} on ${comparison.split}${text ? ` for ${text}` : ""}`;
    }).join(", ");
    throw new NoRecommendationError(
      `The report recommends several ranks for ${of} (${list}); select one by "split", or give "rank" as a number`,
    );
  }
  if (!servedRanks(training).includes(rank)) {
    throw new NoRecommendationError(
      `The report recommends rank ${rank} of ${method}, which the adapter of rank ${training.rank} does not serve: connect the adapter that was trained at rank ${rank}, or give "rank" as a number`,
    );
  }
  const [headline] = matching.flatMap(({ comparison: { verdict } }) =>
    verdict?.kind === "nothing-learnt" ? verdict.headline : []
  );
  const [threshold] = matching.flatMap(({ comparison: { threshold } }) =>
    threshold?.isBest ? threshold.best.value : []
  );
  return {
    rank,
    caution: headline &&
      `The report says: "${headline}" Rank ${rank} is used all the same`,
    threshold,
  };
}

/** What a stage that scores an adapter has chosen. */
export interface ChosenToScore {
  readonly ranks: RankChoice;
  /** As in {@linkcode RecommendedRank}. */
  readonly threshold?: number | undefined;
}

/**
 * The ranks that a stage scores: those that it names, or the one that its input
 * `report` recommends.
 *
 * @throws {RangeError} If it asks for the recommended one without a report.
 * @throws {NoRecommendationError} As {@linkcode recommendedRank}.
 */
export async function chosenToScore(
  { params: { ranks, epoch }, inputs: { report }, log }: Stage<
    { readonly ranks: ScoredRanks; readonly epoch: Epoch },
    InputsOf<typeof REPORT_INPUT>
  >,
  training: AdapterRecord,
): Promise<ChosenToScore> {
  if (ranks !== "recommended") return { ranks };
  if (report === undefined) {
    throw new RangeError(
      '"ranks: recommended" requires the input "report": connect a stage of the task "report", or name the ranks',
    );
  }
  const recommended = await recommendedRank(report.path, training, { epoch });
  if (recommended.caution !== undefined) log(recommended.caution);
  return { ranks: [recommended.rank], threshold: recommended.threshold };
}

/** Scores of the trainings of a method at a rank. */
export interface ReportedScore {
  readonly comparison: Comparison;
  readonly score: ScoreSummary;
}

/**
 * Scores of an adapter's method at its rank in a report, one for each split;
 * none for a split without this rank, or with several variants that the adapter
 * may have.
 *
 * @param folder An artifact of kind `report`
 */
export async function reportedScores(
  folder: string,
  training: AdapterRecord,
  request: RecommendationRequest,
  rank: number,
): Promise<ReportedScore[]> {
  const report = await readReport(folder);
  const matching = variantsFor(report, training, request)
    .filter(({ other }) => other === undefined);
  return [...Map.groupBy(matching, ({ comparison }) => comparison)]
    .flatMap(([comparison, [first, ...more]]) => {
      const score = first!.ranks.find((it) => it.rank === rank);
      return score && more.length === 0 ? [{ comparison, score }] : [];
    });
}

/**
 * The probability from which a report predicts labels of an adapter's task: the
 * one that was given, or the best one for the examples of its verdict, if the
 * best ones were asked for.
 *
 * @param folder An artifact of kind `report`
 * @returns Undefined if the report has none, or several
 */
export async function reportedThreshold(
  folder: string,
  { task }: AdapterRecord,
  { epoch, split }: RecommendationRequest,
): Promise<number | undefined> {
  const { comparisons } = await readReport(folder);
  const values = comparisons.flatMap((it) => {
    const isMeant = it.task === task && it.epoch === epoch &&
      (split === undefined || it.split === split);
    if (!isMeant || it.threshold === undefined) return [];
    const { isBest, best, values } = it.threshold;
    return isBest ? [best.value] : values;
  });
  const [threshold, ...others] = new Set(values);
  return others.length === 0 ? threshold : undefined;
}

async function readReport(folder: string): Promise<Report> {
  return JSON.parse(await Deno.readTextFile(join(folder, "report.json")));
}

/**
 * The variants of an adapter's method in a report on its task, epoch and
 * requested split, with a setting in which each differs from the adapter's
 * training.
 */
function variantsFor(
  { comparisons }: Report,
  training: AdapterRecord,
  { epoch, split }: RecommendationRequest,
) {
  const settings = settingsOf(training);
  return comparisons.filter((it) =>
    it.task === training.task && it.epoch === epoch &&
    (split === undefined || it.split === split)
  ).flatMap((comparison) =>
    comparison.methods.filter((it) =>
      it.method === methodName(provenanceOf(training))
    )
      .map((summary) => {
        const different = Object.entries(summary.variant)
          .find(([name, value]) =>
            Object.hasOwn(settings, name) && settings[name] !== value
          );
        return {
          ...summary,
          comparison,
          /** Such as `mode=frozen` and `mode=all`. */
          other: different && {
            variant: different.join("="),
            training: `${different[0]}=${settings[different[0]]}`,
          },
        };
      })
  );
}

/** An error message if the report has only the other epoch of the task. */
function lackingEpoch(
  { comparisons }: Report,
  { task }: AdapterRecord,
  { epoch }: RecommendationRequest,
): string | undefined {
  const epochs = comparisons.flatMap((it) => it.task === task ? it.epoch : []);
  const [other] = epochs;
  if (other === undefined || epochs.includes(epoch)) return undefined;
  return `The report has scores of "${task}" only at the ${other} epoch, but the adapter is used at the ${epoch} epoch: evaluate that epoch too, use "epoch: ${other}", or give "rank" as a number`;
}

/** `dylora on "mnli", split "validation_matched", at the last epoch`. */
function inWords(
  training: AdapterRecord,
  { epoch, split }: RecommendationRequest,
): string {
  return `${methodName(provenanceOf(training))} on "${training.task}"${
    split === undefined ? "" : `, split "${split}",`
  } at the ${epoch} epoch`;
}
