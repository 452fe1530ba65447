import { join } from "node:path";
import { z } from "zod";
import { readJsonFile } from "../artifacts/json_file.ts";
import {
  type AdapterRecord,
  type Epoch,
  Sampler,
  servedRanks,
  Training,
} from "../artifacts/training.ts";
import { Report } from "../report/report.ts";
import type { Variant } from "../report/result.ts";
import { variantText } from "../report/methods.ts";

/** Which of a report's recommendations is meant. */
export interface RecommendationRequest {
  /** Which of several variants of a method: `mode=all`. */
  readonly variant?: string | undefined;
  /** Which of several splits that the report is on: `validation_matched`. */
  readonly split?: string | undefined;
  /** The epoch that is taken, whose scores recommend it. */
  readonly epoch: Epoch;
}

/** A rank that a report recommends for a method. */
interface Recommendation {
  readonly split: string;
  readonly variant: Variant;
  readonly rank: number;
}

/**
 * The rank that a report recommends for an adapter.
 *
 * @param folder The artifact of the report
 * @throws {TypeError} If it recommends none, several, or that of another training.
 */
export async function recommendedRank(
  folder: string,
  training: AdapterRecord,
  request: RecommendationRequest,
): Promise<number> {
  const { method } = training;
  const report = await readJsonFile(join(folder, "report.json"), Report);
  const found = recommendations(report, training, request);
  const of = inWords(training, request);
  if (found.length === 0) {
    throw new TypeError(
      lackingEpoch(report, training, request) ??
        `The report recommends no rank of ${of}; give "rank" as a number`,
    );
  }
  const contradictions = found.map(({ variant }) =>
    contradictionOf(variant, training)
  );
  const [first] = contradictions;
  if (first !== undefined && !contradictions.includes(undefined)) {
    throw new TypeError(
      `The report recommends a rank of ${method} with ${first.variant}, and the adapter was trained with ${first.training}: connect an adapter with ${first.variant}, name the adapter's own "variant", or give "rank" as a number`,
    );
  }
  const ranks = new Set(found.map(({ rank }) => rank));
  const [rank] = ranks as Iterable<number> as [number];
  if (ranks.size > 1) {
    const list = found.map(({ split, variant, rank }) => {
      const text = variantText(variant);
      return `${rank} on ${split}${text ? ` for ${text}` : ""}`;
    }).join(", ");
    throw new TypeError(
      `The report recommends several ranks of ${of} (${list}); say which by "variant" or "split", or give "rank" as a number`,
    );
  }
  if (servedRanks(training).includes(rank)) return rank;
  throw new TypeError(
    `The report recommends the ${method} of rank ${rank}, and the adapter is another training, of rank ${training.rank}: connect that one, or give "rank" as a number`,
  );
}

function recommendations(
  { comparisons }: Report,
  { task, method }: AdapterRecord,
  { epoch, variant: asked, split: askedSplit }: RecommendationRequest,
): Recommendation[] {
  return comparisons.filter((it) =>
    it.task === task && it.epoch === epoch &&
    (askedSplit === undefined || it.split === askedSplit)
  ).flatMap(({ split, methods }) =>
    methods.filter((it) =>
      it.method === method &&
      (asked === undefined || variantText(it.variant) === asked)
    ).flatMap(({ variant, recommendation }) =>
      recommendation === null
        ? []
        : [{ split, variant, rank: recommendation.rank }]
    )
  );
}

/** The fault in words, if the report is on the other epoch of the task only. */
function lackingEpoch(
  { comparisons }: Report,
  { task }: AdapterRecord,
  { epoch }: RecommendationRequest,
): string | undefined {
  const epochs = comparisons.flatMap((it) => it.task === task ? it.epoch : []);
  const [other] = epochs;
  if (other === undefined || epochs.includes(epoch)) return undefined;
  return `The report has scores of "${task}" at the ${other} epoch only, and the adapter is taken at the ${epoch} one: evaluate it there too, take "epoch: ${other}", or give "rank" as a number`;
}

/** `dylora (mode=all) on "mnli", split "validation_matched", at the last epoch`. */
function inWords(
  { task, method }: AdapterRecord,
  { epoch, variant, split }: RecommendationRequest,
): string {
  return `${method}${variant ? ` (${variant})` : ""} on "${task}"${
    split === undefined ? "" : `, split "${split}",`
  } at the ${epoch} epoch`;
}

const { mode, scope, matryoshka, padding, precision } = Training.shape;
const { epochs, alpha, learningRate, weightDecay, warmupRatio } =
  Training.shape;

/** Dimensions of a matrix that are named after what `training.json` tells, and the values that it can tell there. */
const DIMENSIONS = {
  mode,
  scope,
  sampler: z.enum(Sampler.options.map(({ shape }) => shape.kind.value)),
  objective: matryoshka.unwrap().unwrap().shape.objective,
  padding,
  precision,
  epochs,
  alpha,
  learningRate,
  weightDecay,
  warmupRatio,
};

type Dimension = keyof typeof DIMENSIONS;

/** Where a variant is not that of a training. */
interface Contradiction {
  /** `mode=frozen`. */
  readonly variant: string;
  /** `mode=all`. */
  readonly training: string;
}

/**
 * Looks for what a variant, as a report names it, says otherwise than the
 * training of an adapter. Dimensions that the training's record does not have,
 * and values that it never has, as those of one's own naming, say nothing.
 */
function contradictionOf(
  variant: Variant,
  training: AdapterRecord,
): Contradiction | undefined {
  const told = toldBy(training);
  for (const [key, value] of Object.entries(variant)) {
    if (!Object.hasOwn(DIMENSIONS, key)) continue;
    const own = told[key as Dimension] ?? null;
    if (own === null || own === value) continue;
    if (!DIMENSIONS[key as Dimension].safeParse(value).success) continue;
    return { variant: `${key}=${value}`, training: `${key}=${own}` };
  }
  return undefined;
}

/** What a training's record tells; nothing of one that was trained elsewhere. */
function toldBy(
  training: AdapterRecord,
): Partial<Record<Dimension, string | number | null | undefined>> {
  if (!("mode" in training)) return {};
  const { sampler, matryoshka } = training;
  return {
    ...training,
    sampler: sampler?.kind,
    objective: matryoshka?.objective,
  };
}
