import { join } from "node:path";
import { z } from "zod";
import { shapesOf } from "../lib/artifacts/adapter.ts";
import { writeClassifierModel } from "../lib/artifacts/classifier.ts";
import { MODEL_FILES, readModel } from "../lib/artifacts/model.ts";
import { findMisfit, PEFT_PREFIX } from "../lib/engine/adapters/peft.ts";
import { scaleAt } from "../lib/engine/adapters/scale.ts";
import { encoderTensors } from "../lib/engine/models/parameters.ts";
import { SafetensorsFile } from "../lib/engine/safetensors/reader.ts";
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
    const { mergeAdapter } = await import("../lib/engine/adapters/lora.ts");
    const { readCutAdapter } = await import("../lib/stages/cut_adapter.ts");
    const folder = stage.inputs.model![0]!.path;
    const { adapter: { training }, tensors } = await readCutAdapter(stage);
    const model = await readModel(folder);
    const misfit = findMisfit(shapesOf(tensors), model);
    if (misfit !== undefined) {
      throw new SyntaxError(
        `The adapter does not fit the model: ${misfit}; connect the model on which it was trained`,
      );
    }
    using file = SafetensorsFile.open(join(folder, "model.safetensors"));
    await writeClassifierModel(stage.output, folder, {
      architecture: model.architecture,
      labels: training.labels,
      maxLength: training.maxLength,
      tensors: mergeAdapter(
        encoderTensors(file, model),
        tensors,
        (rank) => scaleAt(rank, training),
        PEFT_PREFIX,
      ),
    });
  },
});
