import { writeAdapter } from "../artifacts/adapter.ts";
import { readTokens } from "../artifacts/tokens.ts";
import { servedRanks, trainingDigest } from "../artifacts/training.ts";
import type { EncodedExamples } from "../data/example.ts";
import { softmax } from "../data/metrics.ts";
import { headTensors } from "../engine/models/outline.ts";
import { PEFT_PREFIX } from "../engine/models/peft.ts";
import { seededRandom, shuffle } from "../engine/random.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import {
  evaluationBatchSize,
  evaluationFlops,
} from "../engine/training/evaluation.ts";
import { fitHead } from "../engine/training/fit_head.ts";
import {
  type AdapterStage,
  logitsAt,
  openAdapter,
  startStageEngine,
} from "./load_classifier.ts";
import { selectedRanks } from "./settings.ts";

/**
 * Fits the last layer of the head for each of some ranks of the adapter of a
 * stage, to what the adapter itself says of training texts at its own rank, and
 * writes an artifact of kind `adapter` that serves these ranks. Labels are not
 * looked at: the adapter has seen them.
 */
export async function fitHeads(
  stage: AdapterStage<{
    readonly ranks: readonly number[] | "all" | "powers";
    readonly examples: number;
  }>,
): Promise<void> {
  const { params, inputs, log } = stage;
  const { adapter, training, info, load } = await openAdapter(
    stage,
    typeof params.ranks === "string" ? [] : params.ranks,
  );
  if (training.heads !== undefined) {
    throw new RangeError(
      "The heads of this adapter are fitted already: connect the adapter that they were fitted to",
    );
  }
  const chosen = selectedRanks(params.ranks, servedRanks(training));
  // The adapter's own rank teaches the others.
  const ranks = [...new Set([...chosen, training.rank])];
  const examples = sampled(
    readTokens(inputs.tokens.path, info, "train"),
    params.examples,
    training.seed,
  );
  const count = examples.index.length;
  const ready = await load();
  const { classifier } = ready;
  const options = {
    ranks,
    batchSize: evaluationBatchSize(ranks.length),
    givesFeatures: true,
  };
  const all = await logitsAt(stage, ready, examples, options);
  const layer = lastLayer(
    adapter.tensors,
    headTensors(classifier.model.architecture).at(-1)!.name,
  );
  const size = all.length / ranks.length;
  const featuresAt = (rank: number) => {
    const from = ranks.indexOf(rank) * size;
    const own = all.subarray(from, from + size);
    return layer.hasBias ? withOnes(own, size / count) : own;
  };
  const isRegression = info.labels === null;
  const targets = targetsOf(
    featuresAt(training.rank),
    layer.values,
    count,
    isRegression,
  );
  // The fits are computed in float32, whatever the features were computed in.
  await startStageEngine({ ...stage, params: { precision: "f32" } });
  const fits = chosen.map((rank, i) => {
    stage.signal.throwIfAborted();
    stage.progress(i, chosen.length, "ranks");
    const fit = fitHead(
      { count, features: featuresAt(rank), targets },
      layer.values,
      isRegression ? "squared-error" : "cross-entropy",
    );
    const { given, fitted } = fit.heldOut;
    log(
      `rank ${rank}: loss against rank ${training.rank} ${
        given.toFixed(4)
      } -> ${fitted.toFixed(4)}, ${
        fit.pull === null ? "trained head kept" : `pull ${fit.pull}`
      }`,
    );
    return { rank, ...fit };
  });
  await writeAdapter(stage.output, {
    baseModel: adapter.baseModel,
    tensors: adapter.tensors,
    training: {
      ...training,
      selection: null,
      heads: {
        of: await trainingDigest(inputs.adapter.path),
        examples: count,
        flops: evaluationFlops(classifier, examples, options) +
          fits.reduce((sum, { flops }) => sum + flops, 0),
        ranks: fits.map(({ rank, pull, heldOut }) => ({ rank, pull, heldOut })),
      },
    },
    heads: new Map(fits.map(({ rank, layer: fitted }) => [
      rank,
      layer.tensors(fitted),
    ])),
  });
}

/** Draws up to `count` examples, in a random order. */
function sampled(
  { ids, types, offsets, index }: EncodedExamples,
  count: number,
  seed: number,
): EncodedExamples {
  const order = Array.from(index, (_, i) => i);
  shuffle(order, seededRandom(seed, "heads"));
  const drawn = order.slice(0, count);
  const of = <T extends Int32Array | Uint8Array>(values: T) =>
    drawn.flatMap((i) => [...values.subarray(offsets[i], offsets[i + 1])]);
  let end = 0;
  return {
    ids: Int32Array.from(of(ids)),
    types: Uint8Array.from(of(types)),
    offsets: Int32Array.from([
      0,
      ...drawn.map((i) => end += offsets[i + 1]! - offsets[i]!),
    ]),
    index: Int32Array.from(drawn, (i) => index[i]!),
  };
}

/** What a layer says of features: probabilities of the classes, or scores. */
function targetsOf(
  features: Float32Array,
  layer: Float64Array,
  count: number,
  isRegression: boolean,
): Float32Array {
  const size = features.length / count;
  const outputs = layer.length / size;
  const targets = new Float32Array(count * outputs);
  for (let i = 0; i < count; i++) {
    const row = targets.subarray(i * outputs, (i + 1) * outputs);
    for (let k = 0; k < outputs; k++) {
      for (let l = 0; l < size; l++) {
        row[k]! += features[i * size + l]! * layer[k * size + l]!;
      }
    }
    if (!isRegression) row.set(softmax(row));
  }
  return targets;
}

/** The last layer of a head as one matrix, whose last column is the bias if there is one. */
function lastLayer(
  tensors: Readonly<Record<string, TensorValues>>,
  lastTensor: string,
) {
  const name = `${PEFT_PREFIX}${lastTensor.replace(/\.\w+$/, "")}`;
  const weight = tensors[`${name}.weight`]!;
  const bias = tensors[`${name}.bias`];
  const [outputs, width] = weight.shape as [number, number];
  const size = bias ? width + 1 : width;
  const values = new Float64Array(outputs * size);
  for (let i = 0; i < outputs; i++) {
    const row = weight.values.subarray(i * width, (i + 1) * width);
    values.set(row as Float32Array, i * size);
    if (bias) values[i * size + width] = bias.values[i] as number;
  }
  return {
    values,
    hasBias: bias !== undefined,
    /** Another layer of the same shape, as tensors of an adapter. */
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

/** Features with one more that is 1: `[examples, width + 1]` */
function withOnes(features: Float32Array, width: number): Float32Array {
  const examples = features.length / width;
  const wider = new Float32Array(features.length + examples).fill(1);
  for (let i = 0; i < examples; i++) {
    wider.set(features.subarray(i * width, (i + 1) * width), i * (width + 1));
  }
  return wider;
}
