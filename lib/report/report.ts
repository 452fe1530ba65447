import { z } from "zod";
import { ChoiceSummary } from "./choices.ts";

/** A number; null where it is undefined. */
const figure = z.number().nullable();

const Interval = z.tuple([z.number(), z.number()]).nullable();

const Sample = z.strictObject({
  mean: figure,
  median: figure,
  /** Standard deviation over seeds; null for one seed. */
  deviation: figure,
  /** One for each seed, in their order. */
  values: z.array(figure),
});

/** Scores of the trainings that differ in their seed alone. */
const Score = z.strictObject({
  seeds: z.array(z.int()).readonly(),
  metrics: z.record(z.string(), Sample),
  /** Of the first metric: bootstrap over examples and seeds. */
  intervals: z.strictObject({ mean: Interval, median: Interval }),
});

const Cost = z.strictObject({
  /** Ranks that the method was evaluated at; 0 is no adapter. */
  ranks: z.array(z.int()),
  /** Trainings of a sweep. */
  trainings: z.int(),
  /** Mean over trainings of the median seconds of an optimizer step. */
  stepSeconds: z.number(),
  /** Optimizer steps of a sweep. */
  steps: z.number(),
  /** Examples that a sweep trains on, each as often as it is seen. */
  examples: z.number(),
  /** Seconds of a sweep's trainings, one after another: from the reading of their data on, over all attempts. */
  trainingSeconds: z.number(),
  /** Seconds of evaluating every epoch to choose the best; 0 where the last one is taken. */
  selectionSeconds: z.number(),
  /** Seconds of making the adapters from trained ones. */
  reductionSeconds: z.number(),
  /** Seconds of a sweep's evaluation stages as wholes, one after another. */
  evaluationSeconds: z.number(),
  sweepSeconds: z.number(),
  /** Floating-point operations of a sweep's trainings. */
  trainingFlops: z.number(),
  /** Floating-point operations of choosing the best epoch. */
  selectionFlops: z.number(),
  /** Floating-point operations of a sweep's evaluations. */
  evaluationFlops: z.number(),
  sweepFlops: z.number(),
});

/** Every value that the trainings of a method have. */
const Settings = z.strictObject({
  epochs: z.array(z.number()),
  batchSize: z.array(z.number()),
  learningRate: z.array(z.number()),
  alpha: z.array(z.number()),
  /** Scales of adapters that serve several ranks: `alpha / b` at rank b. */
  scale: z.array(z.string()),
  precision: z.array(z.string()),
  engine: z.array(z.string()),
  /** Tasks from whose trainings adapters were carried over. */
  startedFrom: z.array(z.string()),
  /** Splits on which the best epoch was chosen. */
  selectedOn: z.array(z.string()),
});

const Method = z.strictObject({
  role: z.enum(["candidate", "baseline", "bound"]),
  method: z.string(),
  /** What tells it from others of the same method: `{ mode: "frozen" }`. */
  variant: z.record(z.string(), z.union([z.string(), z.number()])),
  /** Of a bound, the one rank is 0: no adapter. */
  ranks: z.array(Score.extend({ rank: z.int() })),
  /** Mean of the first metric over the range of ranks, and its interval. */
  area: z.strictObject({ value: figure, interval: Interval }),
  /** Rank from which more rank gives little more. */
  elbow: z.int().nullable(),
  recommendation: z.strictObject({
    rank: z.int(),
    best: z.int(),
    margin: z.number(),
    confidence: z.number(),
    evidence: z.array(z.strictObject({
      rank: z.int(),
      loss: z.number(),
      bound: z.number(),
      sufficient: z.boolean(),
    })).readonly(),
  }).nullable(),
  /** Every precision in which the evaluations computed products. */
  evaluatedIn: z.array(z.string()),
  /** Null if the adapters were not trained here. */
  settings: Settings.nullable(),
  /** Null if the adapters were not trained here. */
  cost: Cost.nullable(),
});

const Difference = z.strictObject({ difference: figure, interval: Interval });

const Contrast = z.strictObject({
  /** Position in `methods`. */
  candidate: z.int(),
  /** Position in `methods`. */
  baseline: z.int(),
  /** Candidate less baseline in the first metric's means, where both have the rank. */
  ranks: z.array(Difference.extend({ rank: z.int() })),
  /** The same of the areas over the ranks that both have; null if these are fewer than two. */
  area: Difference.nullable(),
  /**
   * The baseline's sweep over the ranks that it has within the candidate's
   * range, as a multiple of the candidate's over all of its own; null if there
   * is none, or one was not trained here.
   */
  speedUp: z.strictObject({
    /** Those of the baseline that count. */
    ranks: z.array(z.int()),
    training: z.number(),
    sweep: z.number(),
    examples: z.number(),
    trainingFlops: z.number(),
    sweepFlops: z.number(),
  }).nullable(),
});

const Comparison = z.strictObject({
  task: z.string(),
  /** The task's name as GLUE writes it: `SST-2`. */
  title: z.string(),
  split: z.string(),
  /** The epoch of each training that is evaluated. */
  epoch: z.enum(["last", "best"]),
  examples: z.int(),
  /** Names of the metrics, the one to judge by first. */
  metrics: z.array(z.string()).min(1),
  /** What always answering with the most frequent class reaches; null of a regression. */
  majority: z.record(z.string(), figure).nullable(),
  /** Confidence of all intervals. */
  confidence: z.number(),
  methods: z.array(Method),
  /** Each candidate against each baseline whose variant does not contradict its own. */
  contrasts: z.array(Contrast),
});

/** Means of the main metric over several tasks. */
const Average = z.strictObject({
  /** Of MNLI the matched one. */
  split: z.string(),
  epoch: z.enum(["last", "best"]),
  tasks: z.array(z.strictObject({
    task: z.string(),
    title: z.string(),
    metric: z.string(),
  })),
  confidence: z.number(),
  /** What all of the tasks have. */
  methods: z.array(
    Method.pick({ role: true, method: true, variant: true }).extend({
      ranks: z.array(
        z.strictObject({ rank: z.int(), mean: figure, interval: Interval }),
      ),
    }),
  ),
  /** As those of each task: candidate less baseline where both have the rank. */
  contrasts: z.array(
    Contrast.pick({ candidate: true, baseline: true, ranks: true }),
  ),
});

/** `report.json`: what is compared, one entry for each task, split and choice of epoch. */
export const Report = z.strictObject({
  comparisons: z.array(Comparison),
  /** One for each split and choice of epoch with several tasks. */
  averages: z.array(Average),
  /** Ranks chosen by module: one entry for each task, split, choice of epoch, method and variant. */
  choices: z.array(ChoiceSummary),
});

export type Report = z.output<typeof Report>;
export type Average = z.output<typeof Average>;
export type Comparison = z.output<typeof Comparison>;
export type MethodSummary = z.output<typeof Method>;
export type ScoreSummary = z.output<typeof Score>;
export type CostSummary = z.output<typeof Cost>;
export type Contrast = z.output<typeof Contrast>;
