import { elementCount } from "../../../lib/engine/safetensors/reader.ts";
import { join } from "node:path";
import { headTensors } from "../../../lib/engine/models/outline.ts";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { seededRandom } from "../../../lib/engine/random.ts";
import {
  type TensorValues,
  writeSafetensors,
} from "../../../lib/engine/safetensors/writer.ts";
import type { Model } from "./work.ts";

/**
 * Writes a Hugging Face model folder with random weights, like those of a new
 * model.
 */
export function writeRandomModel(folder: string, { config }: Model): void {
  const text = JSON.stringify(config);
  const model = parseModel(text);
  const { prefix } = model.architecture;
  const random = seededRandom(0, "weights");
  const tensors: Record<string, TensorValues> = {};
  const shapes = new Map([
    ...model.tensors,
    ...headTensors(model).filter(({ start }) => start === "pretrained")
      .map(({ name, shape }) => [name, shape] as const),
  ]);
  for (const [name, shape] of shapes) {
    const values = new Float32Array(elementCount(shape));
    if (shape.length === 2) {
      // Uniform with the standard deviation of a fresh model, 0.02.
      values.forEach((_, i) =>
        values[i] = (random.next() - 0.5) * 0.02 * Math.sqrt(12)
      );
    } else if (name.endsWith(".weight")) values.fill(1);
    tensors[name.replace(`${prefix}.`, "")] = { shape, values };
  }
  Deno.writeTextFileSync(join(folder, "config.json"), text);
  writeSafetensors(join(folder, "model.safetensors"), tensors);
}
