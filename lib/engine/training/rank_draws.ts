import type { RankObjective } from "../methods/method.ts";
import type { Classifier } from "../models/classifier.ts";
import { type Random, restoreRandom, seededRandom } from "../random.ts";
import type { TrainingProgress } from "./checkpoint.ts";

/** State of {@linkcode RankDraws}, from which it resumes. */
type DrawsState = Pick<TrainingProgress, "ranks" | "rowSteps">;

/** Draws the ranks of a training's steps, and counts the steps that train each row. */
export class RankDraws {
  readonly #objective: RankObjective;
  readonly #random: Random;
  readonly #rowSteps: number[];
  readonly #rank: number;
  /** Modules that draw a rank each; 1 if the whole model draws one. */
  readonly #modules: number;

  /** @param state State to resume from; by default, the initial one */
  constructor(
    { objective, seed }: {
      readonly objective: RankObjective;
      readonly seed: number;
    },
    { rank, modules }: Classifier["layout"],
    state?: DrawsState,
  ) {
    this.#objective = objective;
    this.#modules = objective.scope === "module" ? modules.length : 1;
    this.#random = restoreRandom(
      state?.ranks ?? seededRandom(seed, "rank").state,
    );
    this.#rowSteps = [
      ...state?.rowSteps ?? Array<number>(this.#modules * rank).fill(0),
    ];
    this.#rank = rank;
  }

  /**
   * The rank of the next step: one for the model, or one for each module or
   * example.
   *
   * @param examples Examples of the step
   * @param isSorted False while all steps are at the maximum rank
   */
  next(examples: number, isSorted: boolean): number | readonly number[] {
    const { drawMany, gradientMask, scope } = this.#objective;
    const count = scope === "example" ? examples : this.#modules;
    const ranks = !isSorted
      ? Array<number>(count).fill(this.#rank)
      : scope === "example"
      ? drawMany!(this.#random, count)
      : Array.from({ length: count }, () => this.#objective.draw(this.#random));
    const trained = scope === "example" ? [Math.max(...ranks)] : ranks;
    trained.forEach((rank, module) =>
      gradientMask(rank).forEach((isTrained, row) =>
        this.#rowSteps[module * this.#rank + row]! += isTrained
      )
    );
    return scope === "model" ? ranks[0]! : ranks;
  }

  /** Counts the steps of each row from 0 again. */
  restartRows(): void {
    this.#rowSteps.fill(0);
  }

  /** Steps that have trained each row, the last draw included: `[rank]`, or `[modules, rank]` flat. */
  get rowSteps(): readonly number[] {
    return this.#rowSteps;
  }

  /** State after the last draw. */
  get state(): DrawsState {
    return { ranks: this.#random.state, rowSteps: [...this.#rowSteps] };
  }
}
