/**
 * Fits the last layer of a head again, alone, to the features that the rest of
 * a trained model gives (last-layer retraining, arXiv 2204.02937): a convex
 * problem, which is solved without a learning rate.
 *
 * A layer is `[outputs, size]`, row-major; features are `[examples, size]`. A
 * bias is the weight of a last feature that is 1.
 */
import * as tf from "@tensorflow/tfjs-core";
import { engineLanes } from "../backend.ts";
import { crossEntropy } from "../ops/loss.ts";
import { type Named, trace } from "../trace.ts";

/** What a layer is fitted to. */
export interface FittedExamples {
  /** `[examples, size]` */
  readonly features: Float32Array;
  /** Class numbers or scores, `[examples]` */
  readonly labels: Float32Array;
  /** Weight of each example in the loss, `[examples]`. */
  readonly weights: Float32Array;
}

/** A fitted layer. */
export interface FittedHead {
  readonly layer: Float64Array;
  /** Pull that was chosen; null if the trained layer is better than all fits. */
  readonly pull: number | null;
  /** Losses of the held-out examples by the trained layer, and by the chosen one. */
  readonly heldOut: { readonly trained: number; readonly fitted: number };
  /** Floating-point operations of all products. */
  readonly flops: number;
}

/** Pulls towards the trained layer that are tried, each from the fit before. */
const PULLS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5];

/** One in so many examples is held out to choose the pull. */
const HELD_OUT = 5;

/**
 * Fits a layer W by the mean loss plus `pull * |W - W0|^2`, with W0 the trained
 * one. The pull is that with the lowest loss on the first fifth of the
 * examples, which its fits leave out; with it, the layer is fitted to all. If
 * no fit is better there than W0, that is kept.
 *
 * Products are computed in the precision of the engine, which should be
 * float32; everything else in float64.
 *
 * @param loss The cross-entropy is minimized by L-BFGS, the squared error of one output in closed form
 */
export function fitHead(
  examples: FittedExamples,
  trained: Float64Array,
  loss: "cross-entropy" | "squared-error",
): FittedHead {
  const count = examples.labels.length;
  const held = Math.floor(count / HELD_OUT);
  const problemOf = loss === "squared-error" ? squaredError : classes;
  using rest = problemOf(part(examples, held, count), trained);
  using heldOut = problemOf(part(examples, 0, held), trained);
  const trainedLoss = heldOut.loss(trained);
  let best: { pull: number | null; loss: number } = {
    pull: null,
    loss: trainedLoss,
  };
  let layer = trained;
  for (const pull of PULLS) {
    layer = rest.solve(pull, layer);
    const loss = heldOut.loss(layer);
    if (loss < best.loss) best = { pull, loss };
    // With less pull, the loss falls to its minimum and rises again.
    else if (best.pull !== null) break;
  }
  using all = problemOf(examples, trained);
  return {
    layer: best.pull === null ? trained : all.solve(best.pull, layer),
    pull: best.pull,
    heldOut: { trained: trainedLoss, fitted: best.loss },
    flops: rest.flops() + heldOut.flops() + all.flops(),
  };
}

/** A mean loss as a function of the layer. */
interface Problem extends Disposable {
  loss(layer: Float64Array): number;
  /** The layer with the lowest loss and pull, searched from `from`. */
  solve(pull: number, from: Float64Array): Float64Array;
  /** Floating-point operations of its products so far. */
  flops(): number;
}

function classes(
  { features, labels, weights }: FittedExamples,
  trained: Float64Array,
): Problem {
  const examples = labels.length;
  const size = features.length / examples;
  const shape: [number, number] = [trained.length / size, size];
  const sum = weights.reduce((sum, it) => sum + it, 0);
  const inputs = {
    features: tf.tensor2d(features, [examples, size]),
    labels: tf.tensor1d(labels),
    weights: tf.tensor1d(weights.map((it) => it / sum)),
  };
  const lanes = engineLanes();
  const shares = Array.from(
    { length: lanes },
    (_, i) =>
      Math.floor((i + 1) * examples / lanes) - Math.floor(i * examples / lanes),
  ).filter((size) => size > 0);
  // Each of the engine's threads computes a share of the examples.
  const evaluate = trace((
    { layer, ...inputs }: Named & {
      readonly layer: tf.Tensor2D;
      readonly features: tf.Tensor2D;
      readonly labels: tf.Tensor1D;
      readonly weights: tf.Tensor1D;
    },
  ) => {
    const [features, labels, weights] = [
      tf.split(inputs.features, shares),
      tf.split(inputs.labels, shares),
      tf.split(inputs.weights, shares),
    ];
    const parts = shares.map((_, i) =>
      tf.valueAndGrad((layer: tf.Tensor) =>
        crossEntropy(
          tf.matMul(features[i]!, layer as tf.Tensor2D, false, true),
          labels[i] as tf.Tensor1D,
          weights[i]!,
        )
      )(layer)
    );
    return {
      loss: tf.addN(parts.map(({ value }) => value)),
      gradient: tf.addN(parts.map(({ grad }) => grad)),
    };
  });
  let calls = 0;
  const at = (values: Float64Array) => {
    calls++;
    const layer = tf.tensor2d(Float32Array.from(values), shape);
    const found = evaluate({ ...inputs, layer });
    const [value] = found.loss.dataSync();
    const gradient = Float64Array.from(found.gradient.dataSync());
    tf.dispose([layer, found.loss, found.gradient]);
    return { value: value!, gradient };
  };
  return {
    loss: (layer) => at(layer).value,
    solve: (pull, from) =>
      minimize((layer) => {
        const { value, gradient } = at(layer);
        const away = layer.map((it, i) => it - trained[i]!);
        addTo(gradient, away, 2 * pull);
        return { value: value + pull * dot(away, away), gradient };
      }, from),
    flops: () => calls * 4 * examples * trained.length,
    [Symbol.dispose]() {
      tf.dispose(inputs);
      evaluate.dispose();
    },
  };
}

/** Most iterations of L-BFGS, the number of pairs that it keeps, and the norm of the gradient at which it ends, relative to the first one. */
const ITERATIONS = 200;
const PAIRS = 10;
const TOLERANCE = 1e-3;

/**
 * Minimizes a smooth convex function by L-BFGS (Liu and Nocedal 1989), with
 * steps that are halved until they decrease it enough (Armijo 1966).
 */
export function minimize(
  evaluate: (
    at: Float64Array,
  ) => { readonly value: number; readonly gradient: Float64Array },
  from: Float64Array,
): Float64Array {
  let at = from;
  let { value, gradient } = evaluate(at);
  const enough = TOLERANCE * Math.sqrt(dot(gradient, gradient));
  const pairs: {
    readonly step: Float64Array;
    readonly change: Float64Array;
    readonly curvature: number;
  }[] = [];
  for (let i = 0; i < ITERATIONS; i++) {
    if (Math.sqrt(dot(gradient, gradient)) <= enough) break;
    const direction = gradient.map((it) => -it);
    const factors = pairs.toReversed().map(({ step, change, curvature }) => {
      const factor = dot(step, direction) / curvature;
      addTo(direction, change, -factor);
      return factor;
    });
    const last = pairs.at(-1);
    const scale = last === undefined
      ? 1
      : last.curvature / dot(last.change, last.change);
    direction.forEach((it, k) => direction[k] = scale * it);
    for (const { step, change, curvature } of pairs) {
      const factor = factors.pop()! - dot(change, direction) / curvature;
      addTo(direction, step, factor);
    }
    const slope = dot(gradient, direction);
    let length = 1;
    let next = moved(at, direction, length);
    let found = evaluate(next);
    while (found.value > value + 1e-4 * length * slope) {
      length /= 2;
      // In float32, no step decreases the value at its minimum.
      if (length < 1e-6) return at;
      next = moved(at, direction, length);
      found = evaluate(next);
    }
    const step = moved(next, at, -1);
    const change = moved(found.gradient, gradient, -1);
    const curvature = dot(step, change);
    if (curvature > 0) pairs.push({ step, change, curvature });
    if (pairs.length > PAIRS) pairs.shift();
    at = next;
    ({ value, gradient } = found);
  }
  return at;
}

/** Ridge regression towards the trained layer, by the normal equations. */
function squaredError(
  { features, labels, weights }: FittedExamples,
  trained: Float64Array,
): Problem {
  const examples = labels.length;
  const size = trained.length;
  const sum = weights.reduce((sum, it) => sum + it, 0);
  const row = (i: number) => features.subarray(i * size, (i + 1) * size);
  const errorAt = (layer: Float64Array, i: number) =>
    dot(layer, row(i)) - labels[i]!;
  // Products of the features with each other, of which the lower half is used, and with the errors of the trained layer.
  const products = new Float64Array(size * size);
  const errors = new Float64Array(size);
  for (let i = 0; i < examples; i++) {
    const x = row(i);
    const weight = weights[i]! / sum;
    addTo(errors, x, -weight * errorAt(trained, i));
    for (let k = 0; k < size; k++) {
      const lower = products.subarray(k * size, k * size + k + 1);
      addTo(lower, x, weight * x[k]!);
    }
  }
  return {
    loss: (layer) =>
      labels.reduce(
        (total, _, i) => total + weights[i]! / sum * errorAt(layer, i) ** 2,
        0,
      ),
    solve(pull) {
      const ridge = products.slice();
      for (let k = 0; k < size; k++) ridge[k * size + k]! += pull;
      return moved(trained, solved(ridge, errors), 1);
    },
    flops: () => examples * size * size,
    [Symbol.dispose]() {},
  };
}

/** Solves `M x = b` by Cholesky's decomposition, which overwrites M, of which the lower half is read. */
function solved(m: Float64Array, b: Float64Array): Float64Array {
  const size = b.length;
  const x = b.slice();
  const row = (i: number, length: number) =>
    m.subarray(i * size, i * size + length);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      const rest = m[i * size + j]! - dot(row(i, j), row(j, j));
      m[i * size + j] = i === j ? Math.sqrt(rest) : rest / m[j * size + j]!;
    }
    x[i] = (x[i]! - dot(row(i, i), x)) / m[i * size + i]!;
  }
  for (let i = size - 1; i >= 0; i--) {
    x[i]! /= m[i * size + i]!;
    addTo(x, row(i, i), -x[i]!);
  }
  return x;
}

function part(
  { features, labels, weights }: FittedExamples,
  from: number,
  to: number,
): FittedExamples {
  const size = features.length / labels.length;
  return {
    features: features.subarray(from * size, to * size),
    labels: labels.subarray(from, to),
    weights: weights.subarray(from, to),
  };
}

type Values = Float64Array | Float32Array;

/** Of as many values as the first one has. */
function dot(a: Values, b: Values): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** Adds `factor * term` in place, as far as the shorter one goes. */
function addTo(sum: Float64Array, term: Values, factor: number): void {
  const length = Math.min(sum.length, term.length);
  for (let i = 0; i < length; i++) sum[i]! += factor * term[i]!;
}

function moved(
  from: Float64Array,
  by: Float64Array,
  factor: number,
): Float64Array {
  const sum = from.slice();
  addTo(sum, by, factor);
  return sum;
}
