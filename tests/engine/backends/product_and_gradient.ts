import { assertAlmostEquals, assertEquals } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";

/** Value of the sum, gradient of x, gradient of w; rows one after the other. */
const EXPECTED = [
  [0.9527188264391031],
  [
    0.565071909492178,
    1.7209614347664193,
    0.8585346876440785,
    1.3819019453743808,
  ],
  [
    0.3130275888939137,
    -0.1575538027954845,
    0.4757930020433191,
    -0.2185317559344075,
  ],
];

/**
 * Checks `sum(erf(x w)^2)` and its gradients on the backend in use, against
 * values from Python's `math.erf`, to 1e-5 (float32, approximated erf).
 */
export async function checkProductAndGradient(): Promise<void> {
  const x = tf.tensor2d([[0.1, 0.2], [0.3, 0.4]]);
  const w = tf.tensor2d([[0.5, -1], [2, 0.25]]);
  const { value, grads } = tf.valueAndGrads((x: tf.Tensor, w: tf.Tensor) =>
    tf.sum<tf.Scalar>(tf.square(tf.erf(tf.matMul(x, w))))
  )([x, w]);
  const results = [value, ...grads];
  const expected = EXPECTED.flat();
  const actual = (await Promise.all(results.map((tensor) => tensor.data())))
    .flatMap((values) => [...values]);
  assertEquals(actual.length, expected.length);
  for (const [i, number] of actual.entries()) {
    assertAlmostEquals(
      number,
      expected[i]!,
      1e-5,
      `${actual} against ${expected}`,
    );
  }
  tf.dispose([x, w, ...results]);
}
