import * as tf from "@tensorflow/tfjs-core";
import type { AdapterRecord } from "../artifacts/training.ts";
import type { Examples } from "../engine/batches.ts";
import {
  type GroupEvaluator,
  groupEvaluator,
} from "../engine/evaluation/group_evaluation.ts";
import { rankScale } from "../engine/ranks/rank_vectors.ts";
import type { LoadedClassifier } from "./load_classifier.ts";

/** A rank for each module, in the engine's order. */
export type Choice = readonly number[];

/** Choices that are evaluated in one pass. */
const GROUPS = 8;

/** Computes what an adapter answers at a rank for each module. */
export class ChoiceEvaluator implements Disposable {
  readonly #classifier: LoadedClassifier;
  readonly #values: Float32Array;
  readonly #training: Pick<AdapterRecord, "alpha" | "scaling">;
  readonly #signal: AbortSignal;
  readonly #evaluate: GroupEvaluator;

  /** @param values Flat parameters, `[size]` */
  constructor(
    classifier: LoadedClassifier,
    values: Float32Array,
    training: Pick<AdapterRecord, "alpha" | "scaling">,
    { batchSize, signal }: {
      readonly batchSize: number;
      readonly signal: AbortSignal;
    },
  ) {
    this.#classifier = classifier;
    this.#values = values;
    this.#training = training;
    this.#signal = signal;
    this.#evaluate = groupEvaluator(classifier, batchSize);
  }

  /** Logits of the examples at each choice, `[examples, outputs]`, a few choices in each pass. */
  async logits(
    examples: Examples,
    choices: readonly Choice[],
  ): Promise<Float32Array[]> {
    const results: Float32Array[] = [];
    for (let start = 0; start < choices.length; start += GROUPS) {
      const group = choices.slice(start, start + GROUPS);
      const logits = await this.#pass(examples, group);
      const size = logits.length / group.length;
      results.push(
        ...group.map((_, i) => logits.subarray(i * size, (i + 1) * size)),
      );
    }
    return results;
  }

  async #pass(
    examples: Examples,
    group: readonly Choice[],
  ): Promise<Float32Array> {
    const { rank } = this.#classifier.layout;
    const { alpha, scaling } = this.#training;
    const modules = group[0]!.map((_, module) =>
      group.flatMap((ranks) => [
        ...rankScale(ranks[module]!, alpha, rank, scaling),
      ])
    );
    const scale = tf.tensor3d(modules.flat(), [
      modules.length,
      group.length,
      rank,
    ]);
    try {
      return await this.#evaluate(this.#values, scale, examples, {
        signal: this.#signal,
      });
    } finally {
      scale.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.#evaluate.dispose();
  }
}

/** A point on the way of {@linkcode greedyRanks}. */
export interface GreedyStep {
  /** Position of the module whose rank was raised; undefined at the start. */
  readonly raised: number | undefined;
  /** Rank of each module. */
  readonly ranks: readonly number[];
  readonly loss: number;
}

/** What may be spent. */
export interface RankBudget {
  readonly modules: number;
  /** Largest rank of a module. */
  readonly largest: number;
  /** Largest sum of all ranks. */
  readonly total: number;
}

/**
 * Raises ranks greedily: from rank 1 everywhere, each move raises by one the
 * module that gives the smallest loss, the first of equals, until the budget is
 * spent or every module has the largest rank.
 *
 * @param lossesOf Losses of several choices of ranks
 * @returns Every point on the way, the start first.
 * @throws {RangeError} If the budget does not suffice for rank 1 everywhere.
 */
export async function greedyRanks(
  { modules, largest, total }: RankBudget,
  lossesOf: (
    choices: readonly (readonly number[])[],
  ) => Promise<readonly number[]>,
): Promise<GreedyStep[]> {
  if (total < modules) {
    throw new RangeError(
      `A sum of ranks of ${total} does not suffice for rank 1 in each of ${modules} modules`,
    );
  }
  let ranks: readonly number[] = Array<number>(modules).fill(1);
  const [loss] = await lossesOf([ranks]);
  const way: GreedyStep[] = [{ raised: undefined, ranks, loss: loss! }];
  for (let spent = modules; spent < total; spent++) {
    const open = ranks.flatMap((rank, i) => rank < largest ? [i] : []);
    if (open.length === 0) break;
    const choices = open.map((i) => ranks.with(i, ranks[i]! + 1));
    const losses = await lossesOf(choices);
    const best = losses.indexOf(Math.min(...losses));
    if (best < 0) {
      throw new RangeError(
        `A loss is not a number (${
          losses.join(", ")
        }): the adapter is not a trained one`,
      );
    }
    ranks = choices[best]!;
    way.push({ raised: open[best], ranks, loss: losses[best]! });
  }
  return way;
}

/** The point of the smallest loss, the earlier and so the cheaper of equals. */
export function bestStep(way: readonly GreedyStep[]): GreedyStep {
  return way.reduce((best, step) => step.loss < best.loss ? step : best);
}

/** The largest rank that all modules may have within the budget, whatever of it a choice spends. */
export function evenRank({ modules, largest, total }: RankBudget): number {
  return Math.min(largest, Math.floor(total / modules));
}

/** At most so many examples, spread evenly over all. */
export function spreadExamples(
  { ids, types, offsets, labels }: Examples,
  most: number,
): Examples {
  const count = Math.min(most, labels.length);
  const chosen = Array.from(
    { length: count },
    (_, i) => Math.floor(i * labels.length / count),
  );
  const spans = chosen.map((i) => [offsets[i]!, offsets[i + 1]!] as const);
  const ends = [0];
  for (const [from, to] of spans) ends.push(ends.at(-1)! + to - from);
  return {
    ids: Int32Array.from(spans.flatMap(([a, b]) => [...ids.subarray(a, b)])),
    types: Uint8Array.from(
      spans.flatMap(([a, b]) => [...types.subarray(a, b)]),
    ),
    offsets: Int32Array.from(ends),
    labels: Float32Array.from(chosen, (i) => labels[i]!),
  };
}
