import * as z from "zod";
import { Provenance } from "../engine/schedules/registry.ts";

/** A number; null if undefined. */
const figure = z.number().nullable();

/** Low and high end; null if undefined. */
const Interval = z.tuple([z.number(), z.number()]).nullable();

const Epoch = z.enum(["last", "best"]);

/** Settings that distinguish trainings of the same method. */
const Variant = z.record(z.string(), z.union([z.string(), z.number()]));

function perAxis<T extends z.ZodType>(value: T) {
  return z.strictObject({ linear: value, log2: value });
}

const Sample = z.strictObject({
  mean: figure,
  /** Sample standard deviation over seeds; null for one seed. */
  deviation: figure,
  /** One per seed, in the order of `seeds`. */
  values: z.array(figure),
});

/** Scores of trainings that differ only in their seed. */
const Score = z.strictObject({
  seeds: z.array(z.int()).readonly(),
  metrics: z.record(z.string(), Sample),
  /** Bootstrap interval of the mean of the main metric over examples and seeds. */
  interval: Interval,
});

/** Seconds of the parts of a training and its evaluation. */
const SECONDS = {
  /** Training, including reading the data, over all attempts. */
  trainingSeconds: z.number(),
  /** Evaluating every epoch to select the best; 0 if the last one is used. */
  selectionSeconds: z.number(),
  /** Reducing the trained adapter, and fitting heads to it. */
  reductionSeconds: z.number(),
  /** The stages that evaluate it. */
  evaluationSeconds: z.number(),
};

/** Costs of a sweep: everything that scores a method at all its ranks once. Means over seeds. */
const Cost = z.strictObject({
  /** Ranks at which the method was evaluated; 0 is no adapter. */
  ranks: z.array(z.int()),
  /** Number of trainings. */
  trainings: z.int(),
  /** Median seconds of an optimizer step, mean over trainings. */
  stepSeconds: z.number(),
  /** Number of optimizer steps. */
  steps: z.number(),
  /** Training examples, counted each time they are seen. */
  examples: z.number(),
  ...SECONDS,
  /** All of these, one after another. */
  sweepSeconds: z.number(),
  /** What computed them, as far as it is recorded. */
  machines: z.array(z.string()),
  /** Floating-point operations of training. */
  trainingFlops: z.number(),
  /** Floating-point operations of selecting the best epoch. */
  selectionFlops: z.number(),
  /** Floating-point operations of fitting heads. */
  reductionFlops: z.number(),
  /** Floating-point operations of evaluation. */
  evaluationFlops: z.number(),
  sweepFlops: z.number(),
});

/** Seconds and losses of one training. */
const Training = z.strictObject({
  /** Id of the stage that made the adapter or model. */
  stage: z.string(),
  /** Rank of the trained adapter; 0 without adapters. */
  rank: z.int(),
  seed: z.int(),
  ...SECONDS,
  /** Step of each value of `losses`. */
  steps: z.array(z.int()),
  /** Mean loss since the previous value; a long training has means of several values, with five digits. */
  losses: z.array(z.number()),
  /** Main metric after each epoch, mean over its ranks; empty if only the last epoch was kept. */
  epochScores: z.array(z.number()),
});

const Method = z.strictObject({
  role: z.enum(["candidate", "baseline", "bound"]),
  /** Name of the provenance. */
  method: z.string(),
  /** Where its adapters come from. */
  provenance: Provenance,
  variant: Variant,
  /** A bound has the single rank 0: no adapter. */
  ranks: z.array(Score.extend({ rank: z.int() })),
  /** Areas under the rank curve of the main metric, divided by the range of the axis. */
  areas: perAxis(z.strictObject({ value: figure, interval: Interval })),
  recommendation: z.strictObject({
    rank: z.int(),
    /** Rank with the highest score; the smallest on a tie. */
    best: z.int(),
    margin: z.number(),
    confidence: z.number(),
    evidence: z.array(z.strictObject({
      rank: z.int(),
      /** Score of the best rank minus the score of this one. */
      loss: z.number(),
      /** Upper confidence bound of the loss. */
      bound: z.number(),
      /** Whether the bound is within the margin. */
      sufficient: z.boolean(),
    })).readonly(),
  }).nullable(),
  /** Precisions of the evaluations' matrix products. */
  evaluatedIn: z.array(z.string()),
  /** Distinct values of each setting over the trainings, by name; null if the adapters were not trained by this pipeline. */
  settings: z.record(
    z.string(),
    z.array(z.union([z.string(), z.number()])),
  ).nullable(),
  /** Tasks whose trained adapters the trainings started from. */
  startedFrom: z.array(z.string()),
  /** Splits on which the best epoch was selected. */
  selectedOn: z.array(z.string()),
  /** Null if the adapters were not trained by this pipeline. */
  cost: Cost.nullable(),
  /** One per rank and seed; empty if the adapters were not trained by this pipeline. */
  trainings: z.array(Training),
  /** Number of values in an adapter of rank b: `perRank * b + others`; null for a bound. */
  size: z.strictObject({ perRank: z.int(), others: z.int() }).nullable(),
});

const Difference = z.strictObject({ difference: figure, interval: Interval });

const Contrast = z.strictObject({
  /** Position in `methods`. */
  candidate: z.int(),
  /** Position in `methods`: a LoRA trained at each rank, or one reduced by SVD. */
  baseline: z.int(),
  /** Candidate minus baseline in the mean of the main metric, at ranks that both have. */
  ranks: z.array(Difference.extend({ rank: z.int() })),
  /** Differences of the areas over the ranks that both have; null for fewer than two ranks. */
  areas: perAxis(Difference).nullable(),
  /**
   * Cost of the baseline's sweep over its ranks within the candidate's range,
   * divided by the cost of the candidate's whole sweep; null if there are no
   * such ranks, if either was not trained by this pipeline, or if the baseline
   * is reduced.
   */
  speedUp: z.strictObject({
    /** Ranks of the baseline that are counted. */
    ranks: z.array(z.int()),
    /** Of seconds; null if several machines computed. */
    training: figure,
    sweep: figure,
    examples: z.number(),
    trainingFlops: z.number(),
    sweepFlops: z.number(),
  }).nullable(),
  /**
   * The rank recommended for the candidate, and the one that a sweep of the
   * baseline recommends within the candidate's range. Null if either has fewer
   * than two such ranks, or if the baseline is reduced.
   */
  recommended: z.strictObject({
    candidate: z.int(),
    baseline: z.int(),
    /** Score of the candidate at its rank minus that of the baseline at its own. */
    difference: z.number(),
    interval: Interval,
  }).nullable(),
});

/** A method at one of its ranks. */
const Pick = z.strictObject({
  /** Position in `methods`. */
  method: z.int(),
  /** Title of the method with its variant: `DyLoRA (mode=frozen)`. */
  title: z.string(),
  rank: z.int(),
  /** Mean of the main metric over seeds, and its interval. */
  score: z.number(),
  interval: Interval,
});

const Against = Pick.extend({
  difference: z.number(),
  /** Holds for all ranks at once. */
  differenceInterval: z.tuple([z.number(), z.number()]).readonly(),
});

/** What the scores of a comparison say, and what the examples cannot tell. */
const Verdict = z.strictObject({
  kind: z.enum([
    "nothing-learnt",
    "other-better",
    "too-few-examples",
    "recommended",
  ]),
  /** One sentence of plain text. */
  headline: z.string(),
  /** The sentences that support it, plain text. */
  reasons: z.array(z.string()),
  /** The recommended rank of the method that the verdict is about. */
  recommended: Pick,
  /** The rank of this method with the highest score. */
  best: Pick,
  /** Largest acceptable loss of the recommended rank. */
  margin: z.number(),
  /** By how much another rank of this method may be better, at the confidence of the comparison; null if there is no other. */
  bound: figure,
  /** The adapter that is compared with always predicting the same class, or with the head on the frozen encoder. */
  reference: Against.extend({
    kind: z.enum(["constant", "head"]),
    referenceScore: z.number(),
  }),
  /** The best of the other methods, against `best`; null if there is none. */
  other: Against.nullable(),
  /** Fewest seeds of a score that decides. */
  seeds: z.int(),
});

/** What a method gets wrong at a rank. */
const Mistakes = z.strictObject({
  /** Position in `methods`. */
  method: z.int(),
  rank: z.int(),
  /** Null for a regression. */
  classes: z.array(z.strictObject({
    name: z.string(),
    /** How often an example of this class was predicted as each class, over all seeds: a row of the confusion matrix. */
    predicted: z.array(z.int()),
    precision: z.number(),
    recall: z.number(),
    f1: z.number(),
  })).nullable(),
  /** Mistakes with the highest probability, or the largest errors of a regression, at most one for an example. */
  worst: z.array(z.strictObject({
    /** Place in the split, from 0. */
    example: z.int(),
    label: z.union([z.string(), z.number()]),
    prediction: z.union([z.string(), z.number()]),
    /** Of the predicted class; null for a regression. */
    probability: figure,
    /** Absent if the data are not connected. */
    text: z.string().exactOptional(),
    pair: z.string().exactOptional(),
  })),
});

const Comparison = z.strictObject({
  task: z.string(),
  /** Display name of the task: `SST-2`. */
  title: z.string(),
  split: z.string(),
  /** Epoch of each training that is evaluated. */
  epoch: Epoch,
  examples: z.int(),
  /** Names of the metrics, the main metric first. */
  metrics: z.array(z.string()).min(1),
  /** Scores of always predicting the most frequent class; null for regression. */
  majority: z.record(z.string(), figure).nullable(),
  /** Confidence of all intervals. */
  confidence: z.number(),
  /** Null if there is no adapter, or its score is undefined. */
  verdict: Verdict.nullable(),
  methods: z.array(Method),
  /** Each candidate against each baseline, and what trained several ranks against each LoRA reduced by SVD, where the variants do not contradict each other. */
  contrasts: z.array(Contrast),
  /** Of the verdict's method at its recommended rank; without a verdict, of the first method at its lowest rank. */
  mistakes: Mistakes,
});

/** Means of the main metric over several tasks. */
const Average = z.strictObject({
  /** `mean-of-8`. */
  task: z.string(),
  /** `Mean over 8 tasks`. */
  title: z.string(),
  /** For MNLI the matched one. */
  split: z.string(),
  epoch: Epoch,
  tasks: z.array(z.strictObject({
    task: z.string(),
    title: z.string(),
    metric: z.string(),
  })),
  /** The name of the mean. */
  metrics: z.array(z.string()).min(1),
  confidence: z.number(),
  /** Methods that all tasks have, at the ranks that all of them have. */
  methods: z.array(
    Method.pick({
      role: true,
      method: true,
      provenance: true,
      variant: true,
    }).extend({
      ranks: z.array(z.strictObject({
        rank: z.int(),
        metrics: z.record(z.string(), z.strictObject({ mean: figure })),
        interval: Interval,
      })),
    }),
  ),
  /** Candidate minus baseline, at ranks that both have. */
  contrasts: z.array(
    Contrast.pick({ candidate: true, baseline: true, ranks: true }),
  ),
});

/** Schema of `report.json`. */
export const Report = z.strictObject({
  /** One per task, split and epoch. */
  comparisons: z.array(Comparison),
  /** One per split and epoch that several tasks have. */
  averages: z.array(Average),
  /** What is wrong with the data, each a sentence with counts and rows; absent if nothing is. */
  faults: z.array(z.string()).min(1).exactOptional(),
});

export type Report = z.output<typeof Report>;
export type Average = z.output<typeof Average>;
export type Comparison = z.output<typeof Comparison>;
export type MethodSummary = z.output<typeof Method>;
export type ScoreSummary = z.output<typeof Score>;
export type CostSummary = z.output<typeof Cost>;
export type Contrast = z.output<typeof Contrast>;
export type Mistakes = z.output<typeof Mistakes>;
export type Verdict = z.output<typeof Verdict>;

/** Scores by rank, of a comparison or of a mean over tasks, which has no verdict and no trainings. */
export interface Curves
  extends
    Omit<Average, "tasks" | "contrasts" | "methods">,
    Partial<Pick<Comparison, "verdict" | "mistakes">> {
  readonly methods: readonly (
    & Average["methods"][number]
    & Partial<Pick<MethodSummary, "recommendation" | "trainings" | "size">>
  )[];
}
