import type { Provenance } from "../../lib/engine/schedules/registry.ts";
import { classification } from "../../lib/problems/classification.ts";
import type { Metric } from "../../lib/problems/problem.ts";
import { regression } from "../../lib/problems/regression.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import type { Result, TrainingCost } from "../../lib/report/result.ts";
import { seededDraw } from "../../lib/report/statistics.ts";
import type { CompareOptions } from "../../lib/report/summarize.ts";

/** The metrics of all problems. */
export const METRICS = {
  ...classification.metrics,
  ...regression.metrics,
} as Record<
  "accuracy" | "f1" | "f1_macro" | "matthews" | "pearson" | "spearman",
  Metric
>;

/** What results without classes solve. */
export const REGRESSION = problemOf({ problem: "regression", labels: null });

/** Number of examples that results are scored on. */
export const EXAMPLES = 40;

/** Options of a comparison by the metrics of GLUE. */
export const OPTIONS: CompareOptions = {
  draw: seededDraw(0),
  replicates: 400,
  confidence: 0.95,
  margin: 0.01,
};

const LORA: Provenance = {
  trained: "lora",
  imported: false,
  reducedBy: null,
  heads: "trained",
};

/** Of methods whose name is not that of what was trained. */
const PROVENANCES: Readonly<Record<string, Provenance>> = {
  "imported-dylora": { ...LORA, trained: "dylora", imported: true },
  "imported-lora": { ...LORA, imported: true },
  "imported-lora-svd": { ...LORA, imported: true, reducedBy: "svd" },
  "lora-svd": { ...LORA, reducedBy: "svd" },
  "lora-truncated": { ...LORA, reducedBy: "truncation" },
  "lora-heads": { ...LORA, heads: "fitted" },
  "lora-svd-heads": { ...LORA, reducedBy: "svd", heads: "fitted" },
};

/** The provenance with a name. */
export function provenanceNamed(name: string): Provenance {
  return PROVENANCES[name] ??
    { ...LORA, trained: name as Provenance["trained"] };
}

/**
 * Makes a result with predictions that are wrong on the first examples.
 *
 * @param errors Number of wrong predictions by rank.
 */
export function resultOf(
  task: string,
  method: string,
  errors: Readonly<Record<number, number>>,
  { metrics = ["accuracy"], ...others }:
    & Partial<Result>
    & { readonly metrics?: readonly (keyof typeof METRICS)[] } = {},
): Result {
  const labels = others.labels ??
    Float32Array.from({ length: EXAMPLES }, (_, i) => i % 2);
  return {
    task,
    title: task.toUpperCase(),
    split: "validation",
    epoch: "last",
    provenance: provenanceNamed(method),
    variant: {},
    seed: 0,
    stage: `train-${method}@${task}`,
    size: { perRank: 1000, others: 500 },
    precision: "f32",
    labels,
    problem: problemOf({ problem: "classification", labels: ["no", "yes"] }),
    texts: undefined,
    training: undefined,
    reductionSeconds: 0,
    reductionFlops: 0,
    evaluationSeconds: 1,
    machines: [],
    evaluationFlops: 1e9,
    ...others,
    ranks: Object.entries(errors).map(([rank, count]) => {
      const predictions = Float32Array.from(
        labels,
        (label, i) => i < count ? 1 - label : label,
      );
      return {
        rank: Number(rank),
        metrics: Object.fromEntries(
          metrics.map((name) => [name, METRICS[name](predictions, labels)]),
        ),
        predictions,
        probabilities: others.problem === REGRESSION
          ? null
          : predictions.map((_, i) => 1 - i / 100),
      };
    }),
  };
}

/** Makes the settings and costs of a training of an adapter. */
export function trainingOf(
  rank: number,
  settings: Partial<TrainingCost["settings"]> = {},
  others: Partial<TrainingCost> = {},
): TrainingCost {
  return {
    rank,
    settings: {
      epochs: 2,
      batchSize: 32,
      learningRate: 1e-3,
      alpha: 16,
      scale: undefined,
      draws: undefined,
      precision: "f32",
      engine: "tensorflow",
      ...settings,
    },
    start: undefined,
    seconds: 40 + rank,
    stepSeconds: 0.25,
    steps: 100,
    examples: 3200,
    flops: 1e12,
    losses: [10, 20, 30].map((step) => ({ step, loss: 7 / step })),
    selection: undefined,
    ...others,
  };
}
