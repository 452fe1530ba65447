import { join } from "@std/path/posix/join";
import { checkFit } from "../artifacts/adapter.ts";
import { outputsOf } from "../artifacts/classes.ts";
import { writeClassifierModel } from "../artifacts/classifier.ts";
import { readModel } from "../artifacts/model.ts";
import { mergeAdapter } from "../engine/adapters/lora.ts";
import { PEFT_PREFIX } from "../engine/models/peft.ts";
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
  checkFit(tensors, model, outputsOf(training.labels));
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
