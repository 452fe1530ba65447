import { join } from "@std/path/posix/join";
import { checkFit } from "../artifacts/adapter.ts";
import { outputsOf } from "../artifacts/classes.ts";
import { writeClassifierModel } from "../artifacts/classifier.ts";
import { readModel } from "../artifacts/model.ts";
import { kindNamed, mergeAdapter } from "../engine/adapters/registry.ts";
import { PEFT_PREFIX, peftName } from "../engine/models/peft.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import { encoderTensors } from "../engine/models/parameters.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { type CuttingStage, readCutAdapter } from "./cut_adapter.ts";

/** A stage that merges an adapter. */
export type MergingStage = CuttingStage<{ readonly model: InputArtifact }>;

/** Merges the adapter of a stage into its model and writes an artifact of kind `model`. */
export async function merge(stage: MergingStage): Promise<void> {
  const { model: { architecture }, training, tensors } = await readMerged(
    stage,
  );
  const { labels, maxLength } = training;
  await writeClassifierModel(
    stage.output,
    stage.inputs.model.path,
    { architecture, labels, maxLength, tensors },
  );
}

/**
 * The model of a stage with the adapter merged into it.
 *
 * @throws {SyntaxError} If the adapter does not fit the model.
 */
export async function readMerged(stage: Omit<MergingStage, "output">) {
  const { adapter: { training }, ranks, tensors } = await readCutAdapter(stage);
  const folder = stage.inputs.model.path;
  const model = readModel(folder);
  checkFit(tensors, model, outputsOf(training.labels));
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  return {
    model,
    training,
    ranks,
    /** Names of the adapter's tensors. */
    names: Object.keys(tensors),
    tensors: mergeAdapter(
      kindNamed(training.adapter),
      encoderTensors(file, model),
      tensors,
      (module) => scaleAt(ranks.get(peftName(module))!, training),
      PEFT_PREFIX,
    ),
  };
}
