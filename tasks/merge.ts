import { scaleAt } from "../lib/engine/methods/method.ts";
import type { CutAdapter } from "../lib/stages/cut_adapter.ts";
import { join } from "node:path";
import { z } from "zod";
import { shapesOf } from "../lib/artifacts/adapter.ts";
import { writeClassifierModel } from "../lib/artifacts/classifier.ts";
import {
  findMisfit,
  moduleOf,
  PEFT_PREFIX,
} from "../lib/engine/adapters/peft.ts";
import type { Model } from "../lib/engine/models/model.ts";
import { encoderTensors } from "../lib/engine/models/parameters.ts";
import { MODEL_FILES, readModel } from "../lib/artifacts/model.ts";
import { SafetensorsFile } from "../lib/engine/safetensors/reader.ts";
import type { TensorValues } from "../lib/engine/safetensors/writer.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Merge an adapter into its model, at one rank or at a rank per module, as a classifier for transformers",
  params: z.strictObject(rankToTake),
  inputs: {
    model: { kind: "model" },
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
    ranks: { kind: "ranks", optional: true },
  },
  output: { kind: "model", files: MODEL_FILES },
  async run(stage) {
    const { readCutAdapter } = await import("../lib/stages/cut_adapter.ts");
    const folder = stage.inputs.model![0]!.path;
    const cut = await readCutAdapter(stage);
    const model = await readModel(folder);
    const misfit = findMisfit(shapesOf(cut.tensors), model);
    if (misfit !== undefined) {
      throw new SyntaxError(
        `The adapter does not fit the model: ${misfit}; connect the model on which it was trained`,
      );
    }
    const { training } = cut.adapter;
    await writeClassifierModel(stage.output, folder, {
      architecture: model.architecture,
      labels: training.labels,
      maxLength: training.maxLength,
      tensors: await mergedTensors(folder, model, cut),
    });
  },
});

/** The merged tensors of the encoder and those of the head, by their names in transformers. */
async function mergedTensors(
  folder: string,
  model: Model,
  { adapter, ranks, tensors: trained }: CutAdapter,
): Promise<Record<string, TensorValues>> {
  const { mergeLora } = await import("../lib/engine/adapters/factors.ts");
  const { alpha, rank: largest, scaling } = adapter.training;
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const merged = encoderTensors(file, model);
  for (const [name, { shape, values }] of Object.entries(trained)) {
    const plain = name.slice(PEFT_PREFIX.length);
    const module = moduleOf(name);
    if (module === undefined) {
      merged[plain] = { shape, values };
      continue;
    }
    if (!name.endsWith(".lora_A.weight")) continue;
    const target = plain.replace(/\.lora_A\.weight$/, ".weight");
    const before = merged[target]!;
    const b = trained[name.replace(".lora_A.", ".lora_B.")]!;
    const rank = ranks.get(module)!;
    merged[target] = {
      shape: before.shape,
      values: mergeLora(
        before.values as Float32Array,
        values as Float32Array,
        b.values as Float32Array,
        rank,
        scaleAt(rank, alpha, largest, scaling),
      ),
    };
  }
  return merged;
}
