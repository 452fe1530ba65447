import * as tf from "@tensorflow/tfjs-core";
import type { Examples } from "../../lib/engine/batches.ts";
import {
  type GroupEvaluator,
  groupEvaluator,
} from "../../lib/engine/evaluation/group_evaluation.ts";
import { rankScale } from "../../lib/engine/ranks/rank_vectors.ts";
import type { AdapterRecord } from "../artifacts/adapter_record.ts";
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
