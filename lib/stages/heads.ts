import { writeAdapter } from "../peft/adapter.ts";
import { readModel } from "../artifacts/model.ts";
import { readLabelledTokens, readTokens } from "../artifacts/tokens.ts";
import { trainingDigest } from "../artifacts/training.ts";
import { type EncodedExamples, unitCount } from "../data/example.ts";
import type { Model } from "../engine/models/model.ts";
import { headTensors } from "../engine/models/outline.ts";
import { PEFT_PREFIX } from "../peft/names.ts";
import { seededRandom, shuffle } from "../engine/random.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
} from "../engine/training/evaluation.ts";
import { unitWeights } from "../engine/ops/loss.ts";
import { fitHead, type FittedHead } from "../engine/training/fit_head.ts";
import { yieldToEvents } from "../engine/training/progress.ts";
import { problemOf } from "../problems/registry.ts";
import { startStageEngine } from "./engine.ts";
import { type AdapterStage, logitsAt, openAdapter } from "./load_classifier.ts";
import type { RankChoice } from "./settings.ts";

/**
 * Fits the last layer of the head for each of some ranks of the adapter of a
 * stage, and writes an artifact of kind `adapter` that serves these ranks. It
 * is fitted to what the adapter itself says of training texts at its own rank,
 * or to their labels, which the adapter has seen.
 */
export async function fitHeads(
  stage: AdapterStage<{
    readonly ranks: RankChoice;
    readonly upTo: number;
    readonly target: "adapter" | "labels";
    readonly examples?: number | undefined;
  }>,
): Promise<void> {
  const { params, inputs, log } = stage;
  const opened = await openAdapter(stage, params.ranks);
  const { adapter, ranks: served, info, load } = opened;
  const { training } = adapter;
  if (training.heads !== undefined) {
    throw new RangeError(
      "The heads of this adapter are fitted already: connect the adapter that they were fitted to",
    );
  }
  const { head, loss, targetsOf, balancedWeights } = problemOf(info);
  if (head === "language") {
    throw new RangeError(
      "The language head of a model is not trained, so no rank needs one of its own: evaluate the adapter itself",
    );
  }
  if (head === "embedding") {
    log(
      "Embeddings have no trained head, which ranks could have of their own: the adapter is passed on as it is",
    );
    await writeAdapter(stage.output, adapter);
    return;
  }
  const teacher = training.rank;
  const isToLabels = params.target === "labels";
  const fitted = served.filter((rank) =>
    rank === teacher ? isToLabels : rank <= params.upTo
  );
  const model = readModel(inputs.model.path, head);
  const layer = lastLayer(adapter.tensors, model);
  const readSplit = isToLabels ? readLabelledTokens : readTokens;
  const tokens = readSplit(inputs.tokens.path, info, "train");
  // A tenth of the cost of the training: a text is read at four ranks, without
  // gradients.
  const read = training.imported ? Infinity : training.examples;
  const usual = Math.min(Math.max(Math.round(read / 20), 300), 3000);
  const examples = sampled(tokens, params.examples ?? usual, training.seed);
  const count = unitCount(examples);
  const fits = new Map<number, FittedHead>();
  let flops = 0;
  if (fitted.length > 0) {
    const ready = await load();
    const ranks = isToLabels ? fitted : [...fitted, teacher];
    const batchSize = evaluationBatchSize(ranks.length);
    const options = { ranks, batchSize, givesFeatures: true };
    const all = await logitsAt(stage, ready, examples, options);
    flops += evaluationFlops(ready.classifier, examples, options);
    const size = all.length / ranks.length;
    const inputsAt = (i: number) =>
      layer.inputsOf(all.subarray(i * size, (i + 1) * size));
    const { width = 1, labels = new Float32Array(count * width) } = examples;
    const targets = isToLabels
      ? labels
      : targetsOf(layer.outputsOf(inputsAt(fitted.length)));
    const isBalanced = isToLabels && !training.imported &&
      training.classWeights === "balanced";
    const classWeights = isBalanced
      ? balancedWeights!(tokens.labels!)
      : undefined;
    const weights = Float32Array.from(
      unitWeights(loss, labels, width, classWeights),
    );
    // The fits are computed in float32, whatever the features were computed in.
    await startStageEngine(stage, "f32");
    for (const [i, rank] of fitted.entries()) {
      await yieldToEvents();
      stage.signal.throwIfAborted();
      stage.progress(i, fitted.length, "ranks");
      const problem = {
        count,
        features: inputsAt(i),
        targets,
        weights,
        classWeights,
      };
      const fit = await fitHead(problem, layer.values, loss);
      const { pull, heldOut } = fit;
      const losses = [heldOut.given, heldOut.fitted]
        .map((loss) => loss.toFixed(4)).join(" -> ");
      const what = pull === null ? "trained head kept" : `pull ${pull}`;
      const against = isToLabels ? "labels" : `rank ${teacher}`;
      log(`rank ${rank}: loss against ${against} ${losses}, ${what}`);
      fits.set(rank, fit);
      flops += fit.flops;
    }
  }
  await writeAdapter(stage.output, {
    baseModel: adapter.baseModel,
    tensors: adapter.tensors,
    training: {
      ...training,
      selection: null,
      heads: {
        of: await trainingDigest(inputs.adapter.path),
        examples: new Set(examples.index).size,
        flops,
        ranks: served.map((rank) => {
          const { pull = null, heldOut } = fits.get(rank) ?? {};
          return { rank, pull, ...heldOut && { heldOut } };
        }),
      },
    },
    heads: new Map(served.map((rank) => [
      rank,
      layer.tensors(fits.get(rank)?.layer ?? layer.values),
    ])),
  });
}

/**
 * Most words of texts whose words have labels: their features take 0.2 GB at
 * each rank of a model of base size.
 */
const WORDS = 60_000;

/** Draws up to `count` examples, in a random order. */
function sampled(
  { ids, types, offsets, index, labels, width = 1, words }: EncodedExamples,
  count: number,
  seed: number,
): EncodedExamples {
  const order = Array.from(index, (_, i) => i);
  shuffle(order, seededRandom(seed, "heads"));
  let read = 0;
  const drawn: number[] = [];
  for (const i of order.slice(0, count)) {
    if (words) read += words.offsets[i + 1]! - words.offsets[i]!;
    if (read <= WORDS) drawn.push(i);
  }
  const partsOf = (
    values: Int32Array | Float32Array | Uint8Array,
    starts?: Int32Array,
  ) =>
    drawn.flatMap((i) =>
      starts ? [...values.subarray(starts[i], starts[i + 1])] : values[i]!
    );
  const rowsOf = (values: Float32Array) =>
    drawn.flatMap((i) => [...values.subarray(i * width, (i + 1) * width)]);
  const startsOf = (starts: Int32Array) => {
    let end = 0;
    const ends = drawn.map((i) => end += starts[i + 1]! - starts[i]!);
    return Int32Array.of(0, ...ends);
  };
  return {
    ids: Int32Array.from(partsOf(ids, offsets)),
    types: Uint8Array.from(partsOf(types, offsets)),
    offsets: startsOf(offsets),
    index: Int32Array.from(partsOf(index)),
    ...labels && {
      labels: Float32Array.from(
        words ? partsOf(labels, words.offsets) : rowsOf(labels),
      ),
      width,
    },
    ...words && {
      words: {
        offsets: startsOf(words.offsets),
        tokens: Int32Array.from(partsOf(words.tokens, words.offsets)),
        numbers: Int32Array.from(partsOf(words.numbers, words.offsets)),
      },
    },
  };
}

/**
 * The last layer of a head as one matrix, whose last column is the bias if
 * there is one.
 */
function lastLayer(
  tensors: Readonly<Record<string, TensorValues>>,
  model: Model,
) {
  const last = headTensors(model).at(-1)!.name.replace(/\.\w+$/, "");
  const name = `${PEFT_PREFIX}${last}`;
  const weight = tensors[`${name}.weight`]!;
  const bias = tensors[`${name}.bias`];
  const [outputs, width] = weight.shape as [number, number];
  const size = bias ? width + 1 : width;
  /** Rows with one more value each, if there is a bias. */
  const widened = (rows: ArrayLike<number>, lastOf: (row: number) => number) =>
    Float32Array.from({ length: rows.length / width * size }, (_, i) => {
      const row = Math.floor(i / size);
      const column = i % size;
      return column < width ? rows[row * width + column]! : lastOf(row);
    });
  const values = Float64Array.from(
    widened(weight.values, (i) => bias!.values[i]!),
  );
  return {
    values,
    /**
     * What the matrix takes, of the features of some examples: `[count, size]`
     */
    inputsOf: (features: Float32Array) => widened(features, () => 1),
    /** What the matrix makes of these, summed in float32: `[count, outputs]` */
    outputsOf: (inputs: Float32Array) =>
      Float32Array.from({ length: inputs.length / size * outputs }, (_, i) => {
        const row = values.subarray((i % outputs) * size);
        const first = Math.floor(i / outputs) * size;
        return inputs.subarray(first, first + size)
          .reduce((sum, it, k) => Math.fround(sum + it * row[k]!), 0);
      }),
    /** Another matrix as tensors of an adapter. */
    tensors: (layer: Float64Array): Record<string, TensorValues> => ({
      [`${name}.weight`]: {
        shape: weight.shape,
        values: Float32Array.from(layer.filter((_, i) => i % size < width)),
      },
      ...bias && {
        [`${name}.bias`]: {
          shape: bias.shape,
          values: Float32Array.from(layer.filter((_, i) => i % size === width)),
        },
      },
    }),
  };
}
