import type { EncodedExamples } from "../../data/example.ts";
import { sortAdapter } from "../adapters/registry.ts";
import { atRank, type Classifier } from "../models/classifier.ts";
import { trainingFlops } from "../models/outline.ts";
import { fromTensors, toTensors } from "../models/parameters.ts";
import { seededRandom } from "../random.ts";
import type { Phase, RankObjective } from "../schedules/schedule.ts";
import { learningRateAt, type LearningRates } from "./adamw.ts";
import { epochBatches, paddedLengths } from "./batch.ts";

/**
 * What the number of steps, their learning rates and their phases follow from.
 */
export interface PhaseOptions {
  readonly objective: RankObjective;
  readonly epochs: number;
  /** Examples of one forward and backward pass. */
  readonly batchSize: number;
  /** Passes whose gradients make one optimizer step. */
  readonly accumulation: number;
  readonly learningRate: number;
  readonly warmupRatio: number;
}

/** Number of steps, and their learning rates. */
export function trainingRates(
  examples: EncodedExamples,
  options: PhaseOptions,
): LearningRates {
  const { epochs, batchSize, accumulation } = options;
  const batches = examples.index.length / (batchSize * accumulation);
  return { ...options, steps: Math.ceil(batches) * epochs };
}

/** A phase of a training, with the classifier at its rank. */
export interface TrainingPhase extends Phase {
  readonly classifier: Classifier;
}

/**
 * The phases of a training, between which the factors are sorted.
 *
 * @param classifier The trained classifier, as the last phase has it
 * @throws {RangeError} If the steps are too few for the objective's phases
 */
export function trainingPhases(
  classifier: Classifier,
  examples: EncodedExamples,
  options: PhaseOptions,
): TrainingPhase[] {
  const { objective } = options;
  const rates = trainingRates(examples, options);
  // Of all steps, the first alone may have a rate of 0.
  const idle = learningRateAt(0, rates) > 0 ? 0 : 1;
  const phases = objective.phases?.(rates.steps, idle) ??
    [{ from: 0, rank: classifier.layout.rank, objective }];
  return phases.map((phase) => ({
    ...phase,
    classifier: atRank(classifier, phase.rank),
  }));
}

/**
 * Chooses the length to which each batch is padded, from a sample of an epoch's
 * batches.
 */
export function phaseLengths(
  phase: TrainingPhase,
  examples: EncodedExamples,
  { batchSize, epochs, seed }: PhaseOptions & { readonly seed: number },
): (indices: readonly number[]) => number {
  const random = seededRandom(seed, "lengths");
  return paddedLengths(
    examples,
    epochBatches(examples, batchSize, random),
    epochs,
    (shape) => phaseFlops(phase, shape) / phase.classifier.model.layers,
  );
}

/**
 * The parameters at the end of a phase as a later one has them: with the
 * factors sorted, cut to its rank, and at its scale, `[size]`
 */
export function valuesIn(
  later: TrainingPhase,
  values: Float32Array<ArrayBuffer>,
  phase: TrainingPhase,
): Float32Array<ArrayBuffer> {
  if (later === phase) return values;
  const { layout } = later.classifier;
  const sorted = sortAdapter(
    layout.kind,
    toTensors(values, phase.classifier.layout),
    layout.rank,
    fullScale(later) / fullScale(phase),
  );
  return fromTensors((name) => sorted[name]!.values as Float32Array, layout);
}

/** Scale of the products of a phase at its full rank. */
function fullScale({ classifier, objective }: TrainingPhase): number {
  return objective.scale(classifier.layout.rank)[0]!;
}

/** Floating-point operations of a phase for a batch. */
export function phaseFlops(
  { classifier, objective }: TrainingPhase,
  shape: readonly [batch: number, seq: number],
): number {
  const { perExample, lossWeights } = objective;
  return trainingFlops(
    classifier,
    shape,
    perExample ? "example" : lossWeights.length,
  );
}
