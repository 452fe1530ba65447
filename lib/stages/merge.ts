import { join } from "@std/path/posix/join";
import { shapesOf } from "../artifacts/adapter.ts";
import { writeClassifierModel } from "../artifacts/classifier.ts";
import { readModel } from "../artifacts/model.ts";
import { mergeAdapter } from "../engine/adapters/lora.ts";
import { findMisfit, PEFT_PREFIX } from "../engine/models/peft.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import { encoderTensors } from "../engine/models/parameters.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { type CuttingStage, readCutAdapter } from "./cut_adapter.ts";

/** Merges the adapter of a stage into its model and writes an artifact of kind `model`. */
export async function merge(
  stage: CuttingStage<{ readonly model: InputArtifact }>,
): Promise<void> {
  const folder = stage.inputs.model.path;
  const { adapter: { training }, tensors } = await readCutAdapter(stage);
  const model = readModel(folder);
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
}
