import * as tf from "@tensorflow/tfjs-core";
import type { Linear } from "./ops/linear.ts";

/** Rows of the product: enough for every kernel to reach its full speed. */
const rows = 1024;

/** Seconds that are spent on measuring. */
const budget = 0.1;

/** Once the library has prepared itself, this many products at least are timed. */
const fewest = 3;

/**
 * How fast this machine multiplies by a frozen weight, at its best, in
 * floating-point operations a second and in the precision in use. What training
 * reaches of it says how well it uses the machine.
 *
 * @param weight `[out, in]`
 */
export function measureProductPeak({ weight }: Pick<Linear, "weight">): number {
  return tf.tidy(() => {
    const [outputs, inputs] = weight.shape;
    const x = tf.fill([rows, inputs], 0.5) as tf.Tensor2D;
    const flops = 2 * rows * inputs * outputs;
    const product = () => {
      const started = performance.now();
      const result = tf.matMul(x, weight, false, true);
      // One value is read, so that engines that compute later are waited for.
      tf.slice(result, [0, 0], [1, 1]).dataSync();
      result.dispose();
      return (performance.now() - started) / 1000;
    };
    product();
    let best = Infinity;
    let spent = 0;
    for (let count = 0; count < fewest || spent < budget; count++) {
      const seconds = product();
      best = Math.min(best, seconds);
      spent += seconds;
    }
    return flops / best;
  });
}
