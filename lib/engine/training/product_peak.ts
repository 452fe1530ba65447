import * as tf from "@tensorflow/tfjs-core";
import { engineLanes } from "../backend.ts";
import type { EncoderConfig } from "../config.ts";
import { trace } from "../trace.ts";

/** Rows of the product: enough for a kernel to reach its full speed, and for casts not to count. */
const rows = 2048;

/** Seconds that are spent on measuring. */
const budget = 0.1;

/** Once the library has prepared itself, this many products at least are timed. */
const fewest = 3;

/**
 * How fast this machine multiplies, at its best, in floating-point operations a
 * second and in the precision in use: measured with the product that widens the
 * hidden states of a layer, `[2048, hidden] x [hidden, intermediate]`, its rows
 * shared out among the engine's threads. What training reaches of it says how
 * well it uses the machine.
 */
export async function measureProductPeak(
  { hidden, intermediate }: Pick<EncoderConfig, "hidden" | "intermediate">,
): Promise<number> {
  const lanes = engineLanes();
  const share = Math.ceil(rows / lanes);
  const flops = 2 * lanes * share * hidden * intermediate;
  const products = trace(([weight, ...parts]) =>
    parts.map((part) =>
      tf.matMul(part as tf.Tensor2D, weight as tf.Tensor2D, false, true)
    )
  );
  const inputs = [
    tf.fill([intermediate, hidden], 0.25),
    ...Array.from({ length: lanes }, () => tf.fill([share, hidden], 0.5)),
  ];
  const takeSeconds = async () => {
    const started = performance.now();
    const results = products(inputs);
    // One value is read, so that engines that compute later are waited for.
    const value = tf.slice(results[0]!, [0, 0], [1, 1]);
    await value.data();
    tf.dispose([...results, value]);
    return (performance.now() - started) / 1000;
  };
  await takeSeconds();
  let best = Infinity;
  let spent = 0;
  for (let count = 0; count < fewest || spent < budget; count++) {
    const seconds = await takeSeconds();
    best = Math.min(best, seconds);
    spent += seconds;
  }
  tf.dispose(inputs);
  products.dispose();
  return flops / best;
}
