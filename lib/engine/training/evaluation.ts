import * as tf from "@tensorflow/tfjs-core";
import {
  type EncodedExamples,
  unitCount,
  unitsOf,
} from "../../data/example.ts";
import { type AdapterScale, rankScale } from "../adapters/scale.ts";
import {
  type Classifier,
  logitsOf,
  splitParameters,
} from "../models/classifier.ts";
import type { ParameterLayout } from "../models/model.ts";
import { type ClassifierShape, forwardFlops } from "../models/outline.ts";
import { type ModelRanks, rankCount } from "../models/pass_weights.ts";
import type { BatchTensors } from "../models/tensor_pass.ts";
import type { TensorValues } from "../safetensors/writer.ts";
import { trace, type TraceOptions } from "../trace.ts";
import {
  batchesByLength,
  batchTensors,
  chunkCount,
  compilingNote,
  padBatch,
  paddedLengths,
  shardSizes,
  splitBatch,
} from "./batch.ts";
import { yieldToEvents } from "./progress.ts";

interface EvaluationHooks {
  /**
   * Called after each batch with the number of examples done, and with a note
   * before a length is compiled.
   */
  readonly progress?: (examples: number, note?: string) => void;
  readonly signal?: AbortSignal;
  /** Last layers of all ranks, if they have their own. */
  readonly heads?: RankHeads | undefined;
}

/** The tensors of the head's last layer by rank, by the model's names. */
export type RankHeads = ReadonlyMap<
  number,
  Readonly<Record<string, TensorValues>>
>;

/**
 * Makes an evaluator of any number of parameter vectors of a classifier, each
 * at any ranks; disposed, it frees its graph functions.
 */
export function evaluator(
  classifier: Classifier,
  options: EvaluatorOptions,
) {
  const { layout, model } = classifier;
  const shapes = new Set<string>();
  const run = trace((
    { values, heads, ranks, input }: {
      readonly values: tf.Tensor1D;
      readonly heads: Readonly<Record<string, tf.Tensor>>;
      readonly ranks: ModelRanks;
      readonly input: BatchTensors;
    },
  ) => {
    const [sequences, seq] = input.ids.shape;
    const count = rankCount(ranks);
    const parameters = { ...splitParameters(values, layout), ...heads };
    const outputs = splitBatch({ ...input }, shardSizes(sequences, seq * count))
      .map((part) => {
        const rows = logitsOf(classifier, parameters, part, ranks, {
          ...options,
          chunks: chunkCount(sequences, seq),
        });
        return rows.reshape([count, -1, rows.shape[1]]);
      });
    return { outputs: tf.concat(outputs, 1) };
  }, options);

  /**
   * Logits of every example, or of every word, at every rank, in one pass over
   * the data: what does not depend on the rank is computed once. Of a language
   * head, the losses of the labelled tokens.
   *
   * @param values Flat parameters, `[size]`
   * @param served 1-based ranks; 0 without adapters
   * @returns `[ranks, units, outputs]`, flat, in their own order; of features
   * `[ranks, units, width]`; of an example of several sequences, what the head
   * gives for one after the other
   */
  async function evaluate(
    values: Float32Array,
    served: readonly number[],
    examples: EncodedExamples,
    { progress, signal, heads }: EvaluationHooks = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    const ranks = served.length;
    const count = unitCount(examples);
    const { sequencesPerExample: each = 1 } = examples;
    const held = {
      ranks: { scale: scalesAt(served, layout, options) },
      values: tf.tensor1d(values),
      heads: heads ? headsAt(served, heads) : {},
    };
    let all = new Float32Array();
    try {
      let done = 0;
      const batches = evaluationBatches(classifier, examples, ranks, options);
      for (const { indices, length } of batches) {
        await yieldToEvents();
        signal?.throwIfAborted();
        const padded = padBatch(examples, indices, model, length);
        const note = compilingNote([padded], shapes);
        if (note !== undefined) progress?.(done, note);
        const { outputs } = tf.tidy(() => {
          const input = batchTensors(padded);
          if (model.head !== "language") return run({ ...held, input });
          // The tokens that labels are; NaN, where there are none, becomes 0.
          const next = tf.tensor2d(padded.labels, padded.shape, "int32");
          return run({ ...held, input: { ...input, next } });
        });
        const batch = await outputs.data();
        const width = outputs.shape[2]! * each;
        const rows = outputs.shape[1]! / each;
        const perExample = rows / indices.length;
        tf.dispose(outputs);
        if (all.length === 0) all = new Float32Array(ranks * count * width);
        for (let rank = 0; rank < ranks; rank++) {
          indices.forEach((example, row) => {
            for (const { unit, token } of unitsOf(examples, example)) {
              const from = (rank * rows + row * perExample + token) * width;
              all.set(
                batch.subarray(from, from + width),
                (rank * count + unit) * width,
              );
            }
          });
        }
        done += indices.length;
        progress?.(done);
      }
      return all;
    } finally {
      tf.dispose(held);
    }
  }
  return Object.assign(evaluate, {
    [Symbol.dispose]: () => run.dispose(),
  });
}

/**
 * The scale of each row at some ranks, `[ranks, rank]`, by the layout of the
 * adapter.
 */
export function scalesAt(
  ranks: readonly number[],
  { rank }: Pick<ParameterLayout, "rank">,
  options: Omit<AdapterScale, "rank">,
): tf.Tensor2D {
  const scales = ranks.flatMap((b) => [...rankScale(b, { ...options, rank })]);
  return tf.tensor2d(scales, [ranks.length, rank]);
}

/** The last layers of some ranks side by side: `[ranks, ...]` */
function headsAt(
  ranks: readonly number[],
  heads: RankHeads,
): Record<string, tf.Tensor> {
  const layers = ranks.map((rank) => heads.get(rank)!);
  return Object.fromEntries(
    Object.entries(layers[0]!).map(([name, { shape }]) => {
      const values = layers.flatMap((layer) => [...layer[name]!.values]);
      return [name, tf.tensor(values, [layers.length, ...shape])];
    }),
  );
}

/**
 * The numbers of the examples of each batch, and the length to which they are
 * padded.
 */
function evaluationBatches(
  classifier: ClassifierShape,
  examples: EncodedExamples,
  ranks: number,
  { batchSize, passes = 1 }: Pick<EvaluatorOptions, "batchSize" | "passes">,
) {
  const order = [...examples.index.keys()];
  const batches = batchesByLength(examples, order, batchSize);
  const lengthOf = paddedLengths(
    examples,
    batches,
    passes,
    (shape) => forwardFlops(classifier, shape, ranks) / classifier.model.layers,
  );
  return batches.map((indices) => ({ indices, length: lengthOf(indices) }));
}

interface EvaluatorOptions extends TraceOptions, Omit<AdapterScale, "rank"> {
  /** Examples per forward pass. */
  readonly batchSize: number;
  /** True for what the last layer of the head takes, instead of logits. */
  readonly givesFeatures?: boolean;
  /**
   * Number of times that the same examples will be evaluated (default 1); it
   * determines how many lengths are prepared.
   */
  readonly passes?: number;
}

export interface RankEvaluationOptions extends EvaluatorOptions {
  /** Ranks to evaluate, 1-based; 0 without adapters. */
  readonly ranks: readonly number[];
}

/**
 * Default number of examples per forward pass at a number of ranks: 32, and at
 * most 256 sequences at all ranks together.
 */
export function evaluationBatchSize(ranks: number): number {
  return Math.max(1, Math.min(32, Math.floor(256 / ranks)));
}

/** Evaluates parameters once, as an {@linkcode evaluator} does. */
export async function evaluateRanks(
  classifier: Classifier,
  values: Float32Array,
  examples: EncodedExamples,
  options: RankEvaluationOptions & EvaluationHooks,
): Promise<Float32Array<ArrayBuffer>> {
  using evaluate = evaluator(classifier, options);
  return await evaluate(values, options.ranks, examples, options);
}

/**
 * Floating-point operations of {@linkcode evaluateRanks}, counted like those
 * of {@linkcode forwardFlops}.
 */
export function evaluationFlops(
  classifier: ClassifierShape,
  examples: EncodedExamples,
  options: Pick<RankEvaluationOptions, "ranks" | "batchSize" | "passes">,
): number {
  const ranks = options.ranks.length;
  return evaluationBatches(classifier, examples, ranks, options).reduce(
    (sum, { indices, length }) =>
      sum + forwardFlops(
        classifier,
        [indices.length * (examples.sequencesPerExample ?? 1), length],
        ranks,
      ),
    0,
  );
}
