import { moduleCount } from "./module_ranks.ts";
import type { ParameterLayout } from "../parameters.ts";
import { restoreRandom, seededRandom } from "../random.ts";
import { trainedRows, type UpdateMode } from "./rank_vectors.ts";
import { rankSampler, type Sampler } from "./sampler.ts";

/** What draws a rank of its own in each step: the whole model, or each adapted projection. */
export type RankScope = "model" | "module";

/** How the ranks of steps are drawn. */
export interface RankDrawOptions {
  readonly mode: UpdateMode;
  readonly sampler: Sampler;
  /** By default the whole model. */
  readonly scope?: RankScope | undefined;
  readonly seed: number;
}

/** Where the draws stand. */
export interface RankDrawState {
  /** State of the generator. */
  readonly ranks: readonly number[];
  /** Steps that have trained each row: `[rank]`, or `[modules, rank]` flat. */
  readonly rowSteps: readonly number[];
}

/** Draws the ranks of a training's steps, and counts the steps that train each row. */
export class RankDraws {
  readonly #sample: () => number;
  readonly #random: ReturnType<typeof restoreRandom>;
  readonly #rowSteps: number[];
  readonly #maxRank: number;
  readonly #modules: number | undefined;
  readonly #mode: UpdateMode;

  /** @param state Where to go on from; by default the start. */
  constructor(
    { mode, sampler, scope, seed }: RankDrawOptions,
    { rank, layers }: ParameterLayout,
    state?: RankDrawState,
  ) {
    this.#modules = scope === "module" ? moduleCount(layers) : undefined;
    this.#random = restoreRandom(
      state?.ranks ?? seededRandom(seed, "rank").state,
    );
    this.#rowSteps = [
      ...state?.rowSteps ?? Array<number>((this.#modules ?? 1) * rank).fill(0),
    ];
    this.#sample = rankSampler(sampler, rank, this.#random);
    this.#maxRank = rank;
    this.#mode = mode;
  }

  /** The rank of the next step: one for the model, or one for each module. */
  next(): number | readonly number[] {
    const drawn = this.#modules === undefined
      ? this.#sample()
      : Array.from({ length: this.#modules }, this.#sample);
    [drawn].flat().forEach((rank, module) =>
      trainedRows(rank, this.#mode, this.#maxRank).forEach((trained, row) =>
        this.#rowSteps[module * this.#maxRank + row]! += trained
      )
    );
    return drawn;
  }

  /** Steps that have trained each row, the last draw included. */
  get rowSteps(): readonly number[] {
    return this.#rowSteps;
  }

  /** State to go on from. */
  get state(): { ranks: readonly number[]; rowSteps: number[] } {
    return { ranks: this.#random.state, rowSteps: [...this.#rowSteps] };
  }
}
