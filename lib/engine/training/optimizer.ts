import * as tf from "@tensorflow/tfjs-core";
import {
  type AdamWState,
  readValues,
  stateTensors,
  type StateValues,
  stateValues,
} from "./adamw.ts";
import { type Batch, compilingNote } from "./batch.ts";
import { type TrainingPhase, valuesIn } from "./phases.ts";
import {
  type StepDraw,
  type StepSettings,
  type TrainingStep,
  trainingStep,
} from "./step.ts";

/**
 * The parameters of a training with their moments, and the step that updates
 * them, in one phase after the other.
 */
export class PhaseOptimizer implements Disposable {
  readonly #settings: StepSettings;
  #phase: TrainingPhase;
  #state: AdamWState;
  #step: TrainingStep;
  /** Shapes of the batches so far, for each of which the step is compiled. */
  readonly #shapes = new Set<string>();

  /**
   * @param phase The phase that the values are of
   * @param values Flat, `[size]`; without moments at the start of a training
   */
  constructor(
    phase: TrainingPhase,
    values: Pick<StateValues, "values"> & Partial<StateValues>,
    settings: StepSettings,
  ) {
    this.#settings = settings;
    this.#phase = phase;
    this.#state = stateTensors(values);
    this.#step = stepOf(phase, settings);
  }

  /** The phase that the parameters are of. */
  get phase(): TrainingPhase {
    return this.#phase;
  }

  /** What is compiled before a step on these batches, if anything is. */
  compilingNote(batches: readonly Batch[]): string | undefined {
    return compilingNote(batches, this.#shapes);
  }

  /**
   * Takes one step on the mean loss of some batches.
   *
   * @returns The loss; the caller disposes it
   */
  step(batches: readonly Batch[], draw: StepDraw): tf.Scalar {
    const { state, loss } = this.#step(this.#state, batches, draw);
    tf.dispose(this.#state);
    this.#state = state;
    return loss;
  }

  /** The parameters and moments in memory. */
  stateValues(): Promise<StateValues> {
    return stateValues(this.#state);
  }

  /** The parameters as the current phase or a later one has them, `[size]`. */
  async valuesAt(later: TrainingPhase): Promise<Float32Array<ArrayBuffer>> {
    const values = await readValues(this.#state.values);
    return valuesIn(later, values, this.#phase);
  }

  /**
   * Sorts the factors and goes on in a later phase, with moments of zero. The
   * step is made again if the rank differs.
   */
  async enter(later: TrainingPhase): Promise<void> {
    const values = await this.valuesAt(later);
    tf.dispose(this.#state);
    this.#state = stateTensors({ values });
    const isSameRank =
      later.classifier.layout.rank === this.#phase.classifier.layout.rank;
    this.#phase = later;
    if (isSameRank) return;
    this.#step.dispose();
    this.#step = stepOf(later, this.#settings);
    this.#shapes.clear();
  }

  [Symbol.dispose](): void {
    tf.dispose(this.#state);
    this.#step.dispose();
  }
}

function stepOf(phase: TrainingPhase, settings: StepSettings): TrainingStep {
  return trainingStep(phase.classifier, {
    ...settings,
    objective: phase.objective,
  });
}
