import type { z } from "zod";
import type { AdapterScale, Divisor } from "../adapters/scale.ts";
import type { Random } from "../random.ts";

/**
 * A way to train the ranks of an adapter: which ranks a step draws, and which
 * rows it trains.
 */
export interface Schedule<
  Name extends string = string,
  Settings extends z.ZodRawShape = z.ZodRawShape,
> {
  /** Name in artifacts and reports. */
  readonly name: Name;
  readonly title: string;
  /**
   * Role of its adapters in a comparison: all candidates are compared with the
   * baseline.
   */
  readonly role: "candidate" | "baseline";
  /** Scale of its adapters unless a parameter says otherwise. */
  readonly scaling: Divisor;
  /**
   * Its own settings, as a task takes them and `training.json` records them.
   */
  readonly settings: Settings;
  /**
   * Lowest rank that its adapters serve; they serve every rank from there to
   * their own.
   */
  lowestRank(settings: SettingsOf<Settings>, rank: number): number;
  /** How the steps draw ranks, in words; absent if they draw none. */
  drawsInWords?(settings: SettingsOf<Settings>): string;
  /**
   * The objective of a training.
   *
   * @throws {RangeError} If the settings contradict each other or do not fit
   * the adapter.
   */
  objective(
    settings: SettingsOf<Settings>,
    adapter: AdapterScale,
  ): RankObjective;
}

type SettingsOf<Shape extends z.ZodRawShape> = z.output<z.ZodObject<Shape>>;

/**
 * What each optimizer step of a training does with the ranks of its adapters,
 * and what the steps before it do.
 */
export interface RankObjective {
  /**
   * True if a step draws a rank for each of its examples instead of one for
   * all.
   */
  readonly perExample?: boolean;
  /**
   * Weights of a step's losses, one for each rank at which it computes its
   * batch; they add up to 1.
   */
  readonly lossWeights: readonly number[];
  /**
   * Draws the ranks of a step: one, or with `perExample` one for each of its
   * examples.
   */
  draw(random: Random, examples: number): readonly number[];
  /** Scale of each row when a rank is drawn: `[losses, rank]`, flat. */
  scale(rank: number): Float32Array;
  /** 1 for each row that gets a gradient when a rank is drawn: `[rank]`. */
  gradientMask(rank: number): Float32Array;
  /**
   * The phases of a training of which this is the objective of the last one;
   * absent if it is that of all steps. Between two of them the factors are
   * sorted, and cut to the rank of the next. Phases of one rank have the same
   * scale, mask and weights of losses: the traced step serves both.
   *
   * @param idle Number of steps at the start that change nothing, since their
   * learning rate is 0
   * @throws {RangeError} If the steps are too few
   */
  phases?(steps: number, idle: number): readonly Phase[];
}

/** Steps of a training by one objective. */
export interface Phase {
  /** Number of steps before it. */
  readonly from: number;
  /** Rank of the adapter that it trains. */
  readonly rank: number;
  readonly objective: RankObjective;
}
