import * as tf from "@tensorflow/tfjs-core";
import {
  maxOfRow,
  meanOfRow,
  sumOfRow,
} from "../../../lib/engine/ops/reduce.ts";
import { fused } from "../../../lib/engine/trace.ts";
import "../engine.ts";
import { assertClose, read } from "../reference.ts";

const reduced = fused(({ x }: { readonly x: tf.Tensor }) => ({
  max: maxOfRow(x),
  sum: sumOfRow(x),
  mean: meanOfRow(x),
}));

for (const width of [5, 8, 45, 384]) {
  Deno.test(`sumOfRow(), maxOfRow() and meanOfRow() take all ${width} values of a row, in a compiled function`, async () => {
    const rows = Math.ceil(2 ** 15 / width);
    const x = tf.randomNormal([2, rows, width], 0, 1, "float32", 3);
    const { max, sum, mean } = reduced({ x });
    for (
      const [found, expected] of [
        [max, tf.max(x, -1, true)],
        [sum, tf.sum(x, -1, true)],
        [mean, tf.mean(x, -1, true)],
      ] as const
    ) assertClose(await read(found), await read(expected), 1e-4, `${width}`);
    tf.dispose([x, max, sum, mean]);
  });
}
