import { checkFit } from "../peft/checks.ts";
import { writeClassifierModel } from "../artifacts/classifier.ts";
import { openWeights, readModel } from "../artifacts/model.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { kindNamed, mergeAdapter } from "../engine/adapters/registry.ts";
import { PEFT_PREFIX } from "../peft/names.ts";
import { scaleAt } from "../engine/adapters/scale.ts";
import { encoderTensors } from "../engine/models/parameters.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { problemOf } from "../problems/registry.ts";
import {
  type CutAdapter,
  type CuttingStage,
  readCutAdapter,
} from "./cut_adapter.ts";

/** A stage that merges an adapter. */
export type MergingStage = CuttingStage<{ readonly model: InputArtifact }>;

/** Merges the adapter of a stage into its model and writes an artifact of kind `model`. */
export async function merge(stage: MergingStage): Promise<void> {
  const folder = stage.inputs.model.path;
  const cut = await readCutAdapter(stage);
  await writeClassifierModel(stage.output, folder, {
    ...cut.adapter.training,
    architecture: readModel(folder).architecture,
    tensors: mergedTensors(folder, cut),
  });
}

/**
 * The tensors of a classifier: a model with an adapter merged into it.
 *
 * @param folder Of the model
 * @throws {SyntaxError} If the adapter does not fit the model.
 */
export function mergedTensors(
  folder: string,
  { adapter: { training }, rank, tensors }: CutAdapter,
): AdapterTensors {
  const { head, outputs } = problemOf(training);
  const model = readModel(folder, head);
  checkFit(tensors, model, outputs);
  using file = openWeights(folder);
  return mergeAdapter(
    kindNamed(training.adapter),
    encoderTensors(file, model),
    tensors,
    scaleAt(rank, training),
    PEFT_PREFIX,
  );
}
