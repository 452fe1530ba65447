import type { EncoderConfig } from "../lib/engine/config.ts";
import type { CutAdapter } from "../lib/stages/cut_adapter.ts";
import { join } from "node:path";
import { z } from "zod";
import { writeClassifierModel } from "../lib/artifacts/classifier.ts";
import { mergeLora } from "../lib/engine/adapters/merge_lora.ts";
import { MODEL_FILES } from "../lib/artifacts/model.ts";
import { moduleOf } from "../lib/artifacts/ranks.ts";
import { SafetensorsFile } from "../lib/engine/safetensors/reader.ts";
import type { TensorValues } from "../lib/engine/safetensors/writer.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Merge an adapter at a rank into its model: a model folder that transformers loads as a classifier",
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
    const { parseEncoderConfig } = await import("../lib/engine/config.ts");
    const model = stage.inputs.model![0]!.path;
    const cut = await readCutAdapter(stage);
    const { architecture, layers } = parseEncoderConfig(
      await Deno.readTextFile(join(model, "config.json")),
    );
    if (cut.ranks.size !== 2 * layers) {
      throw new SyntaxError(
        `The adapter does not fit the model: it has ${
          cut.ranks.size / 2
        } layers, and the model ${layers}`,
      );
    }
    await writeClassifierModel(stage.output, model, {
      architecture,
      labels: cut.adapter.training.labels,
      tensors: mergedTensors(model, architecture, cut),
    });
  },
});

/** The encoder's tensors, merged, and the head's, as transformers' classifier of the family names them. */
function mergedTensors(
  model: string,
  family: EncoderConfig["architecture"],
  { adapter, ranks, tensors: trained }: CutAdapter,
): Record<string, TensorValues> {
  const { alpha, rank: largest, scaling } = adapter.training;
  const merged: Record<string, TensorValues> = {};
  using file = SafetensorsFile.open(join(model, "model.safetensors"));
  for (const [stored, { shape }] of file.tensors) {
    const name = stored.replace(new RegExp(`^${family}\\.`), "");
    if (isOfClassifier(name, family)) {
      merged[`${family}.${name}`] = { shape, values: file.floats(stored) };
    }
  }
  for (const [name, { shape, values }] of Object.entries(trained)) {
    const plain = name.replace(/^base_model\.model\./, "");
    const module = moduleOf(name);
    if (module === undefined) {
      merged[plain] = { shape, values };
      continue;
    }
    if (!name.endsWith(".lora_A.weight")) continue;
    const target = plain.replace(/\.lora_A\.weight$/, ".weight");
    const before = merged[target];
    const b = trained[name.replace(".lora_A.", ".lora_B.")]!;
    const expected = [b.shape[0]!, shape[1]!];
    if (before === undefined || String(before.shape) !== String(expected)) {
      throw new SyntaxError(
        `The adapter does not fit the model: "${target}" should be [${expected}], and ` +
          (before === undefined ? "is missing" : `is [${before.shape}]`),
      );
    }
    const rank = ranks.get(module)!;
    merged[target] = {
      shape: before.shape,
      values: mergeLora(
        before.values as Float32Array,
        values as Float32Array,
        b.values as Float32Array,
        rank,
        alpha / (scaling === "rank" ? rank : largest),
      ),
    };
  }
  return merged;
}

/** True for what a classifier takes of a model: no head of another task, no buffers. */
function isOfClassifier(
  name: string,
  family: EncoderConfig["architecture"],
): boolean {
  return /^(embeddings|encoder)\.(?!.*_ids$)/.test(name) ||
    family === "bert" && name.startsWith("pooler.");
}
