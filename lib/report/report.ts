/** What `report.json` holds, as `compare()` computes it. */
import type {
  Bound,
  PRETRAINED,
  Provenance,
} from "../engine/schedules/registry.ts";
import type { Variant } from "./result.ts";

/** Both ends of a confidence interval. */
export type Interval = readonly [low: number, high: number];

/** Role of a method: studied, compared with, or without adapters. */
export type Role = "candidate" | "baseline" | "bound";

/** Content of `report.json`. */
export interface Report {
  /** One per task, split and epoch. */
  readonly comparisons: readonly Comparison[];
  /** One per split and epoch that several tasks have. */
  readonly averages: readonly Average[];
  /**
   * What is wrong with the data, each a sentence with counts and rows; absent
   * if nothing is.
   */
  readonly faults?: readonly string[];
}

/** Methods on one task, split and epoch. */
export interface Comparison {
  readonly task: string;
  /** Display name of the task: `SST-2`. */
  readonly title: string;
  readonly split: string;
  /** Epoch of the trainings that is evaluated. */
  readonly epoch: "last" | "best";
  /**
   * Number of examples that are scored; of words that are labelled, of texts.
   */
  readonly examples: number;
  /** Names of the metrics, the main metric first. */
  readonly metrics: readonly string[];
  /**
   * Scores of always predicting the most frequent class, by metric, null where
   * they are undefined; null without classes.
   */
  readonly majority: Readonly<Record<string, number | null>> | null;
  /**
   * Of texts that may have several labels, the probabilities from which one is
   * predicted, ascending, and whether they are the best ones for the examples
   * that are scored.
   */
  readonly threshold?: {
    readonly values: readonly number[];
    readonly isBest: boolean;
    /**
     * Mean number of labels of a text that the verdict's method predicts at its
     * recommended rank.
     */
    readonly labelsPerText: number;
    /**
     * The best one for the examples of the verdict's method at its recommended
     * rank, and the mean of the main metric by it.
     */
    readonly best: { readonly value: number; readonly score: number };
  };
  /** Confidence of all intervals: 0.95. */
  readonly confidence: number;
  /** Null if there is no adapter, or its score is undefined. */
  readonly verdict: Verdict | null;
  readonly methods: readonly MethodSummary[];
  readonly contrasts: readonly Contrast[];
  /**
   * Mistakes of the verdict's method at its recommended rank; without a
   * verdict, of the first method at its lowest rank.
   */
  readonly mistakes: Mistakes;
}

/** Means of the main metric over several tasks. */
export interface Average {
  /** `mean-of-8` */
  readonly task: string;
  readonly title: string;
  readonly split: string;
  readonly epoch: "last" | "best";
  /** The single metric, a mean of those of the tasks. */
  readonly metrics: readonly string[];
  readonly tasks: readonly {
    readonly task: string;
    readonly title: string;
    /** Main metric of the task. */
    readonly metric: string;
  }[];
  readonly confidence: number;
  readonly methods: readonly MeanSummary[];
  readonly contrasts: readonly RankContrast[];
}

/** Scores by rank, of a comparison or of a mean over tasks. */
export interface Curves {
  readonly task: string;
  readonly title: string;
  readonly split: string;
  readonly epoch: "last" | "best";
  readonly metrics: readonly string[];
  readonly confidence: number;
  readonly methods: readonly (
    & MeanSummary
    & Partial<Pick<MethodSummary, "recommendation" | "trainings" | "size">>
  )[];
  readonly contrasts: readonly (RankContrast & Partial<Contrast>)[];
  /** A mean over tasks has none. */
  readonly verdict?: Verdict | null;
  /** A mean over tasks has none. */
  readonly mistakes?: Mistakes;
}

/** A method of a mean over tasks. */
export interface MeanSummary {
  readonly role: Role;
  /** Name of the provenance: `lora-svd`. */
  readonly method: string;
  readonly provenance: Provenance;
  readonly variant: Variant;
  /** Ascending. A bound has the single rank 0: no adapter. */
  readonly ranks: readonly Scored[];
}

/** Scores by metric at a rank. */
export interface Scored extends MetricScores {
  readonly rank: number;
}

/** Scores by metric, with the interval of the main one. */
export interface MetricScores {
  readonly metrics: Readonly<Record<string, MeanScore>>;
  /**
   * Interval of the main metric, over examples and seeds; null if undefined.
   */
  readonly interval: Interval | null;
}

/** A mean score; a mean over tasks has no deviation. */
export interface MeanScore {
  /** Mean over seeds; null if it is undefined. */
  readonly mean: number | null;
  /** Sample standard deviation over seeds; null for one seed. */
  readonly deviation?: number | null;
  /** Interval of a metric besides the main one, if its replicates are known. */
  readonly interval?: Interval | null;
}

/** Scores, recommendation and costs of a method. */
export interface MethodSummary extends MeanSummary {
  readonly ranks: readonly ScoreSummary[];
  /**
   * Areas under the curve of the main metric by rank, divided by the range of
   * the axis: the rank, or its logarithm.
   */
  readonly areas: Readonly<Record<Axis, Area>>;
  /** Null for a bound, or if a score is undefined. */
  readonly recommendation: Recommendation | null;
  /** Precisions of the evaluations' matrix products. */
  readonly evaluatedIn: readonly string[];
  /**
   * Distinct values of each setting; null if an adapter was not trained by this
   * pipeline.
   */
  readonly settings:
    | Readonly<Record<string, readonly (string | number)[]>>
    | null;
  /** Tasks whose trained adapters the trainings started from. */
  readonly startedFrom: readonly string[];
  /** Splits on which the best epoch was selected. */
  readonly selectedOn: readonly string[];
  /** Null if an adapter was not trained by this pipeline. */
  readonly cost: CostSummary | null;
  /**
   * One per rank and seed; none if an adapter was not trained by this pipeline.
   */
  readonly trainings: readonly TrainingSummary[];
  /**
   * Number of values in an adapter of rank b: `perRank * b + others`; null
   * without adapters.
   */
  readonly size: { readonly perRank: number; readonly others: number } | null;
}

/** Axes over which the area under a curve is taken. */
export type Axis = "linear" | "log2";

/** Area under a curve. */
export interface Area {
  readonly value: number | null;
  readonly interval: Interval | null;
}

/** Scores at a rank of trainings that differ only in their seed. */
export interface ScoreSummary extends Scored {
  /** Ascending. */
  readonly seeds: readonly number[];
  readonly metrics: Readonly<Record<string, SampleScore>>;
}

/** A metric over seeds. */
export interface SampleScore extends MeanScore {
  readonly deviation: number | null;
  /** One per seed, in the order of `seeds`; null where undefined. */
  readonly values: readonly (number | null)[];
}

/** The smallest rank of a method that is not inferior to its best one. */
export interface Recommendation {
  readonly rank: number;
  /** Rank with the highest score; the smallest on a tie. */
  readonly best: number;
  /** Largest acceptable loss, in units of the score. */
  readonly margin: number;
  readonly confidence: number;
  readonly evidence: readonly RankEvidence[];
}

/** Whether a rank is inferior to the best one. */
export interface RankEvidence {
  readonly rank: number;
  /** Score of the best rank minus the score of this one. */
  readonly loss: number;
  /** Upper confidence bound of the loss. */
  readonly bound: number;
  /** The bound plus three of its Monte Carlo standard errors. */
  readonly boundAtMost: number;
  /** Whether this is within the margin. */
  readonly sufficient: boolean;
}

/**
 * Costs of a method's sweep over its ranks, means over the seeds, which repeat
 * it.
 */
export interface CostSummary {
  /** Ranks at which the method was evaluated; 0 is no adapter. */
  readonly ranks: readonly number[];
  /** Number of trainings. */
  readonly trainings: number;
  /** Mean over the trainings of the median seconds of a step. */
  readonly stepSeconds: number;
  readonly steps: number;
  /** Examples seen, summed over epochs. */
  readonly examples: number;
  readonly trainingSeconds: number;
  readonly selectionSeconds: number;
  readonly reductionSeconds: number;
  readonly evaluationSeconds: number;
  /** Sum of all these seconds. */
  readonly sweepSeconds: number;
  /** Processors and GPUs that computed, as far as recorded. */
  readonly machines: readonly string[];
  readonly trainingFlops: number;
  readonly selectionFlops: number;
  readonly reductionFlops: number;
  readonly evaluationFlops: number;
  readonly sweepFlops: number;
}

/** Seconds and losses of a training. */
export interface TrainingSummary {
  /** Id of the stage: `train-dylora@mrpc,seed=0`. */
  readonly stage: string;
  /** Rank of the trained adapter; 0 without adapters. */
  readonly rank: number;
  readonly seed: number;
  readonly trainingSeconds: number;
  readonly selectionSeconds: number;
  readonly reductionSeconds: number;
  readonly evaluationSeconds: number;
  /** Step of each loss; in a long training, a loss is a mean over steps. */
  readonly steps: readonly number[];
  readonly losses: readonly number[];
  /**
   * Main metric after each epoch, mean over its ranks; empty if only the last
   * epoch was kept.
   */
  readonly epochScores: readonly number[];
}

/** Two methods, compared at the ranks that both have. */
export interface RankContrast {
  /** Position in `methods`. */
  readonly candidate: number;
  /** Position in `methods`. */
  readonly baseline: number;
  readonly ranks: readonly (ScoreDifference & { readonly rank: number })[];
}

/** A candidate's score minus that of a baseline, paired by example and seed. */
export interface ScoreDifference {
  readonly difference: number | null;
  readonly interval: Interval | null;
}

/** Two methods of a comparison. */
export interface Contrast extends RankContrast {
  /** Over the ranks that both have; null for fewer than two. */
  readonly areas: Readonly<Record<Axis, ScoreDifference>> | null;
  /**
   * Null unless the baseline is a sweep over ranks within the candidate's
   * range, and both were trained by this pipeline.
   */
  readonly speedUp: SpeedUp | null;
  /** Null unless both have two ranks or more. */
  readonly recommended: RecommendedContrast | null;
}

/** Costs of a baseline's sweep over the costs of a candidate's. */
export interface SpeedUp {
  /** Ranks of the baseline that are counted. */
  readonly ranks: readonly number[];
  /** Ratio of seconds; null if several machines computed. */
  readonly training: number | null;
  /** Ratio of seconds; null if several machines computed. */
  readonly sweep: number | null;
  readonly examples: number;
  readonly trainingFlops: number;
  readonly sweepFlops: number;
}

/**
 * What a candidate at its recommended rank loses against a baseline at the one
 * that its sweep recommends.
 */
export interface RecommendedContrast {
  /** Recommended rank of the candidate. */
  readonly candidate: number;
  /** Recommended rank of the baseline. */
  readonly baseline: number;
  readonly difference: number;
  readonly interval: Interval | null;
}

/**
 * Which of the cases of a verdict holds, as `decide()` in verdict.ts defines
 * them.
 */
export type VerdictKind =
  | "nothing-learnt"
  | "other-better"
  | "too-few-examples"
  | "recommended";

/** What the scores of a comparison support. */
export interface Verdict {
  readonly kind: VerdictKind;
  /**
   * A sentence for everyone: `Use rank 1: 147 of 147 held-out rows are right.`
   */
  readonly headline: string;
  /** The statistics behind it, each a sentence. */
  readonly reasons: readonly string[];
  /** The recommended rank of the method that the verdict is about. */
  readonly recommended: VerdictCell;
  /** The rank of this method with the highest score. */
  readonly best: VerdictCell;
  /** Largest acceptable loss of the recommended rank. */
  readonly margin: number;
  /**
   * By how much another rank of this method may be better, at the confidence of
   * the comparison; null if there is no other.
   */
  readonly bound: number | null;
  /**
   * The adapter compared with a constant prediction, with the head on the
   * frozen encoder or with the model without an adapter; null without any.
   */
  readonly reference: VerdictReference | null;
  /** The best of the other methods, against `best`; null if there is none. */
  readonly other: ComparedCell | null;
  /** Fewest seeds of a score that decides. */
  readonly seeds: number;
}

/** A method at one of its ranks. */
export interface VerdictCell {
  /** Position in `methods`. */
  readonly method: number;
  readonly title: string;
  readonly rank: number;
  /** Mean of the main metric over seeds. */
  readonly score: number;
  readonly interval: Interval | null;
}

/** A method at one of its ranks, against another score. */
export interface ComparedCell extends VerdictCell {
  readonly difference: number;
  /** Holds for all ranks at once. */
  readonly differenceInterval: Interval;
}

/** An adapter against a score that it must exceed to have learnt something. */
export interface VerdictReference extends ComparedCell {
  /**
   * A constant prediction, the head on the frozen encoder, or the model without
   * an adapter.
   */
  readonly kind: "constant" | ("head" & Bound) | typeof PRETRAINED.name;
  readonly referenceScore: number;
}

/** What a method gets wrong at a rank. */
export interface Mistakes {
  /** Position in `methods`. */
  readonly method: number;
  readonly rank: number;
  /** Rows of the confusion matrix; null without classes. */
  readonly classes: readonly ClassScore[] | null;
  /** What can be predicted beside the classes, after these in their counts. */
  readonly others?: readonly string[];
  /** True if an example may have several of the classes. */
  readonly areIndependent?: true;
  /**
   * The most confident mistakes, or the largest errors; at most one for an
   * example.
   */
  readonly worst: readonly Mistake[];
  /**
   * Of rankings, the queries whose first right answer has the lowest position,
   * each once.
   */
  readonly missed?: readonly MissedQuery[];
  /** Number of queries above whose answers another text is ranked, of all. */
  readonly missedCount?: { readonly missed: number; readonly queries: number };
}

/** A query above whose answers another text is ranked. */
export interface MissedQuery {
  /** Position of its highest answer in the ranking, from 1. */
  readonly position: number;
  /** Absent if the data are not connected, as are the others. */
  readonly query?: string;
  readonly answer?: string;
  /** The text that is ranked first. */
  readonly firstRanked?: string;
}

/** Scores of a class, as scikit-learn's, where `zero_division` is 0. */
export interface ClassScore {
  readonly name: string;
  /**
   * Number of its examples predicted as each class, then as each of `others`.
   */
  readonly predicted: readonly number[];
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

/** A wrong prediction. */
export interface Mistake {
  /** Position of the example, from 0. */
  readonly example: number;
  /** Name of the class, or the number of a regression. */
  readonly label: string | number;
  readonly prediction: string | number;
  /** Null for a regression. */
  readonly probability: number | null;
  /** Words of the example that it is about, if not all. */
  readonly words?:
    | { readonly start: number; readonly end: number }
    | undefined;
  /** Absent if the data are not connected. */
  readonly text?: string;
  readonly pair?: string;
}
