import * as tf from "@tensorflow/tfjs-core";
import type { EncoderConfig } from "./config.ts";

/** Rows of the product: enough for a kernel to reach its full speed, and for casts not to count. */
const rows = 2048;

/** Seconds that are spent on measuring. */
const budget = 0.1;

/** Once the library has prepared itself, this many products at least are timed. */
const fewest = 3;

/**
 * How fast this machine multiplies, at its best, in floating-point operations a
 * second and in the precision in use: measured with the product that widens the
 * hidden states of a layer, `[2048, hidden] x [hidden, intermediate]`. What
 * training reaches of it says how well it uses the machine.
 */
export function measureProductPeak(
  { hidden, intermediate }: Pick<EncoderConfig, "hidden" | "intermediate">,
): number {
  return tf.tidy(() => {
    const x = tf.fill([rows, hidden], 0.5) as tf.Tensor2D;
    const weight = tf.fill([intermediate, hidden], 0.25) as tf.Tensor2D;
    const flops = 2 * rows * hidden * intermediate;
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
