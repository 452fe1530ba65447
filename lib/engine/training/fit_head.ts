/**
 * Fits the last layer of a head, alone, to what a teacher says of the same
 * examples: a convex problem, which is solved without a learning rate.
 *
 * A layer is `[outputs, size]`, row-major; features, what the layer takes, are
 * `[examples, size]`. A bias is the weight of a last feature that is 1.
 */
import * as tf from "@tensorflow/tfjs-core";
import { engineLanes } from "../backend.ts";
import { type Named, trace } from "../trace.ts";

/** What a layer is fitted to. */
export interface FittedExamples {
  readonly count: number;
  /** `[count, size]` */
  readonly features: Float32Array;
  /** Probabilities of the classes by the teacher, or its scores of a regression: `[count, outputs]` */
  readonly targets: Float32Array;
}

/** A fitted layer. */
export interface FittedHead {
  readonly layer: Float64Array;
  /** Pull that was chosen; null if the given layer is better than all fits. */
  readonly pull: number | null;
  /** Loss of the held-out examples by the given layer, and by the chosen one. */
  readonly heldOut: { readonly given: number; readonly fitted: number };
  /** Floating-point operations of all products. */
  readonly flops: number;
}

/** Pulls towards the given layer that are tried, each from the fit before, as multiples of the mean square of a feature. */
const PULLS = [1e-1, 1e-2, 1e-3, 1e-4];

/** One in so many examples is held out to choose the pull. */
const HELD_OUT = 5;

/**
 * Fits a layer W by the mean loss plus `pull * |W - W0|^2`, with W0 the given
 * one. The pull is that with the lowest loss on the first fifth of the
 * examples, which its fits leave out; with it, the layer is fitted to all. If
 * no fit is better there than W0, that is kept.
 *
 * Products are computed in the precision of the engine, which should be
 * float32; everything else in float64.
 *
 * @param loss The cross-entropy with the teacher's probabilities, minimized by L-BFGS, or the squared error of one output, in closed form
 */
export function fitHead(
  examples: FittedExamples,
  given: Float64Array,
  loss: "cross-entropy" | "squared-error",
): FittedHead {
  const held = Math.floor(examples.count / HELD_OUT);
  const problemOf = loss === "squared-error" ? squaredError : crossEntropy;
  using rest = problemOf(part(examples, held, examples.count), given);
  using heldOut = problemOf(part(examples, 0, held), given);
  const { features } = examples;
  const square = dot(features, features) / features.length;
  const givenLoss = heldOut.loss(given);
  let best: { pull: number | null; loss: number; layer: Float64Array } = {
    pull: null,
    loss: givenLoss,
    layer: given,
  };
  let layer = given;
  for (const pull of PULLS) {
    layer = rest.solve(pull * square, layer);
    const loss = heldOut.loss(layer);
    if (loss < best.loss) best = { pull, loss, layer };
    else if (best.pull !== null) break;
  }
  using all = problemOf(examples, given);
  return {
    layer: best.pull === null
      ? given
      : all.solve(best.pull * square, best.layer),
    pull: best.pull,
    heldOut: { given: givenLoss, fitted: best.loss },
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

function crossEntropy(
  { count, features, targets }: FittedExamples,
  given: Float64Array,
): Problem {
  const size = features.length / count;
  const outputs = targets.length / count;
  const inputs = {
    features: tf.tensor2d(features, [count, size]),
    targets: tf.tensor2d(targets, [count, outputs]),
  };
  const lanes = engineLanes();
  const shares = Array.from(
    { length: lanes },
    (_, i) =>
      Math.floor((i + 1) * count / lanes) - Math.floor(i * count / lanes),
  ).filter((size) => size > 0);
  // Each of the engine's threads computes a share of the examples.
  const evaluate = trace((
    { layer, features, targets }: Named & {
      readonly layer: tf.Tensor2D;
      readonly features: tf.Tensor2D;
      readonly targets: tf.Tensor2D;
    },
  ) => {
    const taught = tf.split(targets, shares);
    const parts = tf.split(features, shares).map((x, i) => {
      const logits = tf.matMul(x, layer, false, true);
      const logProbabilities = tf.logSoftmax(logits);
      const error = tf.sub(tf.exp(logProbabilities), taught[i]!);
      return {
        loss: tf.sum(tf.mul(taught[i]!, logProbabilities)),
        gradient: tf.matMul(error as tf.Tensor2D, x, true),
      };
    });
    return {
      loss: tf.div(tf.addN(parts.map(({ loss }) => loss)), -count),
      gradient: tf.div(tf.addN(parts.map(({ gradient }) => gradient)), count),
    };
  });
  let calls = 0;
  const at = (values: Float64Array) => {
    calls++;
    const layer = tf.tensor2d(Float32Array.from(values), [outputs, size]);
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
        const away = moved(layer, given, -1);
        addTo(gradient, away, 2 * pull);
        return { value: value + pull * dot(away, away), gradient };
      }, from),
    flops: () => calls * 4 * count * given.length,
    [Symbol.dispose]() {
      tf.dispose(inputs);
      evaluate.dispose();
    },
  };
}

/** Most iterations of L-BFGS, the number of pairs that it keeps, and the share of the value by which an iteration must decrease it. */
const ITERATIONS = 200;
const PAIRS = 10;
const TOLERANCE = 1e-5;

/**
 * Minimizes a smooth convex function by L-BFGS (Liu and Nocedal 1989), with
 * steps that are halved until they decrease it enough (Armijo 1966).
 */
function minimize(
  evaluate: (
    at: Float64Array,
  ) => { readonly value: number; readonly gradient: Float64Array },
  from: Float64Array,
): Float64Array {
  let at = from;
  let { value, gradient } = evaluate(at);
  const pairs: {
    readonly step: Float64Array;
    readonly change: Float64Array;
    readonly curvature: number;
  }[] = [];
  for (let i = 0; i < ITERATIONS; i++) {
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
    if (value - found.value <= TOLERANCE * Math.abs(value)) return next;
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

/** Ridge regression towards the given layer, by the normal equations. */
function squaredError(
  { count, features, targets }: FittedExamples,
  given: Float64Array,
): Problem {
  const size = given.length;
  const row = (i: number) => features.subarray(i * size, (i + 1) * size);
  const errorAt = (layer: Float64Array, i: number) =>
    dot(layer, row(i)) - targets[i]!;
  // Products of the features with each other, of which the lower half is used, and with the errors of the given layer.
  const products = new Float64Array(size * size);
  const errors = new Float64Array(size);
  for (let i = 0; i < count; i++) {
    const x = row(i);
    addTo(errors, x, -errorAt(given, i) / count);
    for (let k = 0; k < size; k++) {
      addTo(products.subarray(k * size, k * size + k + 1), x, x[k]! / count);
    }
  }
  return {
    loss: (layer) =>
      targets.reduce((sum, _, i) => sum + errorAt(layer, i) ** 2, 0) / count,
    solve(pull) {
      const ridge = products.slice();
      for (let k = 0; k < size; k++) ridge[k * size + k]! += pull;
      return moved(given, solved(ridge, errors), 1);
    },
    flops: () => count * size * size,
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
  { count, features, targets }: FittedExamples,
  from: number,
  to: number,
): FittedExamples {
  const of = (values: Float32Array) =>
    values.subarray(
      from * values.length / count,
      to * values.length / count,
    );
  return { count: to - from, features: of(features), targets: of(targets) };
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
