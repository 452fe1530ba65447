/**
 * Fits the last layer of a head, alone, to labels or to what a teacher says of
 * the same examples: a convex problem, which is solved without a learning rate.
 *
 * A layer is `[outputs, size]`, row-major; features, what the layer takes, are
 * `[examples, size]`. A bias is the weight of a last feature that is 1.
 */
import * as tf from "@tensorflow/tfjs-core";
import { type LossName, lossNamed } from "../ops/loss.ts";
import { trace } from "../trace.ts";
import { addTo, dot } from "../vectors.ts";
import { shardSizes, splitBatch } from "./batch.ts";

/** What a layer is fitted to. */
export interface FittedExamples {
  readonly count: number;
  /** `[count, size]` */
  readonly features: Float32Array;
  /**
   * `[count, width]`: class numbers, scores or marks of classes; or what a
   * teacher says, its probabilities, `[count, outputs]`
   */
  readonly targets: Float32Array;
  /** Of each example in the mean loss, `[count]` */
  readonly weights: Float32Array;
  /** Of the positive targets of classes, as the loss takes them. */
  readonly classWeights?: readonly number[] | undefined;
}

/** A fitted layer. */
export interface FittedHead {
  /** `[outputs, size]` */
  readonly layer: Float64Array;
  /**
   * Pull that was chosen; null if the initial layer is better than all fits.
   */
  readonly pull: number | null;
  /** Loss of the held-out examples. */
  readonly heldOut: {
    /** By the initial layer. */
    readonly given: number;
    /** By the layer with the chosen pull. */
    readonly fitted: number;
  };
  /** Floating-point operations of all products. */
  readonly flops: number;
}

/**
 * Pulls towards the initial layer that are tried, each from the fit before, as
 * multiples of the mean square of a feature.
 */
const PULLS = [1e-1, 1e-2, 1e-3, 1e-4];

/** One in so many examples is held out to choose the pull. */
const HELD_OUT = 5;

/**
 * Fits a layer W by the mean loss plus `pull * |W - W0|^2`, with W0 the initial
 * one. The pull is that with the lowest loss on the first fifth of the
 * examples, which its fits leave out; with it, the layer is fitted to all. If
 * no fit is better there than W0, that is kept.
 *
 * Products are computed in the precision of the engine, which should be
 * float32; everything else in float64.
 */
export async function fitHead(
  { features, ...examples }: FittedExamples,
  initial: Float64Array,
  loss: LossName,
): Promise<FittedHead> {
  const { count } = examples;
  // With features of mean square 1, a gradient has about the length of a first
  // step.
  const size = Math.sqrt(dot(features, features) / features.length);
  const scaled = { ...examples, features: features.map((it) => it / size) };
  const start: Float64Array = initial.map((it) => it * size);
  const held = Math.floor(count / HELD_OUT);
  const lossOf = (from: number, to: number) =>
    meanLoss(scaled, [from, to], start, loss);
  using rest = lossOf(held, count);
  using heldOut = lossOf(0, held);
  const startLoss = await heldOut.loss(start);
  let best = { pull: null as number | null, loss: startLoss, fit: start };
  let fit = start;
  for (const pull of PULLS) {
    fit = await rest.solve(pull, fit);
    const loss = await heldOut.loss(fit);
    if (loss < best.loss) best = { pull, loss, fit };
    else if (best.pull !== null) break;
  }
  using all = lossOf(0, count);
  return {
    layer: best.pull === null
      ? initial
      : (await all.solve(best.pull, best.fit)).map((it) => it / size),
    pull: best.pull,
    heldOut: { given: startLoss, fitted: best.loss },
    flops: rest.flops() + heldOut.flops() + all.flops(),
  };
}

/**
 * The mean loss of some examples as a function of the layer.
 *
 * @param start The layer that fits are pulled towards
 */
function meanLoss(
  { features, targets, weights, classWeights, ...all }: FittedExamples,
  [from, to]: readonly [number, number],
  start: Float64Array,
  loss: LossName,
) {
  const count = to - from;
  const rows = (values: Float32Array) => {
    const width = values.length / all.count;
    const part = values.subarray(from * width, to * width);
    return tf.tensor(part, width === 1 ? [count] : [count, width]);
  };
  const sum = weights.subarray(from, to).reduce((sum, it) => sum + it, 0);
  const inputs = {
    features: rows(features) as tf.Tensor2D,
    targets: rows(targets),
    weights: rows(weights.map((it) => it / sum)),
  };
  const size = inputs.features.shape[1];
  const layerOf = (values: Float64Array) =>
    tf.tensor2d(Float32Array.from(values), [values.length / size, size]);
  const sizes = shardSizes(count, 1);
  // Each of the engine's threads computes a share of the examples.
  const evaluate = trace((
    { layer, ...examples }: typeof inputs & { readonly layer: tf.Tensor2D },
  ) => {
    const parts = splitBatch(examples, sizes).map((part) =>
      tf.valueAndGrad((layer: tf.Tensor2D) =>
        lossNamed(loss).sum(
          tf.matMul(part.features, layer, false, true),
          part.targets,
          part.weights,
          classWeights,
        )
      )(layer)
    );
    return {
      loss: tf.addN(parts.map(({ value }) => value)),
      gradient: tf.addN(parts.map(({ grad }) => grad)),
    };
  });
  let flops = 0;
  const at = async (values: Float64Array) => {
    flops += 4 * count * start.length;
    const layer = layerOf(values);
    const results = evaluate({ ...inputs, layer });
    const [value] = await results.loss.data();
    const gradient = Float64Array.from(await results.gradient.data());
    tf.dispose([layer, results.loss, results.gradient]);
    return { value: value!, gradient };
  };
  /**
   * Equations of the change from the start with the lowest squared error and
   * pull, `[size, size + 1]`.
   */
  const normalEquations = async (pull: number) => {
    const { features } = inputs;
    const products = tf.tidy(() => {
      const targets = inputs.targets.expandDims(1);
      const weights = inputs.weights.expandDims(1);
      const error = features.matMul(layerOf(start), false, true).sub(targets);
      return features.mul(weights).matMul(features.concat(error, 1), true);
    });
    flops += 2 * count * size * (size + 2);
    const values = await products.data();
    products.dispose();
    return Array.from({ length: size }, (_, i) => {
      const row = values.subarray(i * (size + 1), (i + 1) * (size + 1));
      return Float64Array.from(row, (it, k) => k === i ? it + pull : it);
    });
  };
  return {
    loss: async (layer: Float64Array) => (await at(layer)).value,
    /**
     * The layer with the lowest loss and pull, of other losses than the squared
     * error searched from `from`.
     */
    solve: async (pull: number, from: Float64Array) => {
      if (loss === "squared-error") {
        return moved(start, solved(await normalEquations(pull)), -1);
      }
      return await minimize(async (layer) => {
        const { value, gradient } = await at(layer);
        const away = moved(layer, start, -1);
        addTo(gradient, 2 * pull, away);
        return { value: value + pull * dot(away, away), gradient };
      }, from);
    },
    /** Floating-point operations of its products so far. */
    flops: () => flops,
    [Symbol.dispose]() {
      tf.dispose(inputs);
      evaluate.dispose();
    },
  };
}

/** Maximum iterations of L-BFGS. */
const ITERATIONS = 200;
/** Number of pairs that it keeps. */
const PAIRS = 10;
/** Share of the value by which an iteration must decrease it. */
const TOLERANCE = 1e-5;

/**
 * Minimizes a smooth convex function by L-BFGS (Liu and Nocedal 1989), with
 * steps that are halved until they decrease it enough (Armijo 1966).
 */
async function minimize(
  evaluate: (
    at: Float64Array,
  ) => Promise<{ readonly value: number; readonly gradient: Float64Array }>,
  from: Float64Array,
): Promise<Float64Array> {
  let at = from;
  let { value, gradient } = await evaluate(at);
  const pairs: {
    readonly step: Float64Array;
    readonly change: Float64Array;
    readonly curvature: number;
  }[] = [];
  for (let i = 0; i < ITERATIONS; i++) {
    const direction = gradient.map((it) => -it);
    const factors = pairs.toReversed().map(({ step, change, curvature }) => {
      const factor = dot(step, direction) / curvature;
      addTo(direction, -factor, change);
      return factor;
    });
    const last = pairs.at(-1);
    const scale = last === undefined
      ? 1
      : last.curvature / dot(last.change, last.change);
    direction.forEach((it, k) => direction[k] = scale * it);
    for (const { step, change, curvature } of pairs) {
      const factor = factors.pop()! - dot(change, direction) / curvature;
      addTo(direction, factor, step);
    }
    const slope = dot(gradient, direction);
    let length = 1;
    let next = moved(at, direction, length);
    let result = await evaluate(next);
    while (result.value > value + 1e-4 * length * slope) {
      length /= 2;
      // In float32, no step decreases the value at its minimum.
      if (length < 1e-6) return at;
      next = moved(at, direction, length);
      result = await evaluate(next);
    }
    if (value - result.value <= TOLERANCE * Math.abs(value)) return next;
    const step = moved(next, at, -1);
    const change = moved(result.gradient, gradient, -1);
    const curvature = dot(step, change);
    if (curvature > 0) pairs.push({ step, change, curvature });
    if (pairs.length > PAIRS) pairs.shift();
    at = next;
    value = result.value;
    gradient = result.gradient;
  }
  return at;
}

/**
 * Solves the equations of a positive definite matrix, `[size, size + 1]`, by
 * elimination in place (Gauss and Jordan).
 */
function solved(rows: readonly Float64Array[]): Float64Array {
  for (const [i, row] of rows.entries()) {
    for (const other of rows) {
      if (other !== row) addTo(other, -other[i]! / row[i]!, row);
    }
  }
  return Float64Array.from(rows, (row, i) => row.at(-1)! / row[i]!);
}

function moved(
  from: Float64Array,
  by: Float64Array,
  factor: number,
): Float64Array {
  const sum = from.slice();
  addTo(sum, factor, by);
  return sum;
}
