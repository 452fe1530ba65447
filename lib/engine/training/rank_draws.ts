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
  /** Undefined unless each module draws a rank. */
  readonly #modules: number | undefined;

  /** @param state Where to resume; by default the start */
  constructor(
    { objective, seed }: {
      readonly objective: RankObjective;
      readonly seed: number;
    },
    { rank, modules }: Classifier["layout"],
    state?: DrawsState,
  ) {
    this.#objective = objective;
    this.#modules = objective.scope === "module" ? modules.length : undefined;
    this.#random = restoreRandom(
      state?.ranks ?? seededRandom(seed, "rank").state,
    );
    this.#rowSteps = [
      ...state?.rowSteps ?? Array<number>((this.#modules ?? 1) * rank).fill(0),
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
    const draw = () =>
      isSorted ? this.#objective.draw(this.#random) : this.#rank;
    const many = (count: number) =>
      isSorted
        ? drawMany!(this.#random, count)
        : Array<number>(count).fill(this.#rank);
    const drawn = scope === "example"
      ? many(examples)
      : this.#modules === undefined
      ? draw()
      : Array.from({ length: this.#modules }, draw);
    const trained = typeof drawn === "number"
      ? [drawn]
      : scope === "example"
      ? [Math.max(...drawn)]
      : drawn;
    trained.forEach((rank, module) =>
      gradientMask(rank).forEach((count, row) =>
        this.#rowSteps[module * this.#rank + row]! += count
      )
    );
    return drawn;
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
