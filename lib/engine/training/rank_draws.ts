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
  /** Undefined where the whole model draws one rank. */
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

  /** The rank of the next step: one for the model, or one for each module. */
  next(): number | readonly number[] {
    const draw = () => this.#objective.draw(this.#random);
    const drawn = this.#modules === undefined
      ? draw()
      : Array.from({ length: this.#modules }, draw);
    [drawn].flat().forEach((rank, module) =>
      this.#objective.gradientMask(rank).forEach((trained, row) =>
        this.#rowSteps[module * this.#rank + row]! += trained
      )
    );
    return drawn;
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
