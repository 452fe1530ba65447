import { z } from "zod";

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

const Cost = z.strictObject({
  /** Ranks that the method was trained for, by one training or by one each. */
  ranks: z.array(z.int()),
  /** Trainings of a sweep. */
  trainings: z.int(),
  /** Mean over trainings of the median seconds of an optimizer step. */
  stepSeconds: z.number(),
  /** Optimizer steps of a sweep. */
  steps: z.number(),
  /** Examples that a sweep trains on, each as often as it is seen. */
  examples: z.number(),
  /** Seconds of a sweep's training stages, one after another. */
  trainingSeconds: z.number(),
  /** Seconds of a sweep's evaluation stages, one after another. */
  evaluationSeconds: z.number(),
  sweepSeconds: z.number(),
});

const Method = z.strictObject({
  role: z.enum(["candidate", "baseline"]),
  method: z.string(),
  variant: z.string(),
  ranks: z.array(z.strictObject({
    rank: z.int(),
    seeds: z.array(z.int()).readonly(),
    metrics: z.record(z.string(), Sample),
    /** Of the first metric's mean: bootstrap over examples and seeds. */
    interval: Interval,
  })),
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
  cost: Cost,
});

const Contrast = z.strictObject({
  /** Position in `methods`. */
  candidate: z.int(),
  /** Position in `methods`. */
  baseline: z.int(),
  /** Candidate less baseline in the first metric's means, where both have the rank. */
  ranks: z.array(z.strictObject({
    rank: z.int(),
    difference: figure,
    interval: Interval,
  })),
  /** The baseline's sweep over the ranks that it has, as a multiple of the candidate's over all of its own. */
  speedUp: z.strictObject({
    training: z.number(),
    sweep: z.number(),
    examples: z.number(),
  }),
});

const Comparison = z.strictObject({
  task: z.string(),
  /** The task's name as GLUE writes it: `SST-2`. */
  title: z.string(),
  split: z.string(),
  examples: z.int(),
  /** Names of the metrics, the one to judge by first. */
  metrics: z.array(z.string()).min(1),
  /** Confidence of all intervals. */
  confidence: z.number(),
  methods: z.array(Method),
  /** Each candidate against each baseline. */
  contrasts: z.array(Contrast),
});

/** `report.json`: what is compared, one entry for each task and split. */
export const Report = z.strictObject({ comparisons: z.array(Comparison) });

export type Report = z.output<typeof Report>;
export type Comparison = z.output<typeof Comparison>;
export type MethodSummary = z.output<typeof Method>;
export type Contrast = z.output<typeof Contrast>;
