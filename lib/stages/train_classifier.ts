import { writeClassifier } from "../artifacts/classifier.ts";
import { openWeights } from "../artifacts/model.ts";
import { encoderTensors, toTensors } from "../engine/models/parameters.ts";
import type { Model } from "../engine/models/model.ts";
import { WITHOUT_ADAPTERS } from "../engine/schedules/fixed.ts";
import { type Bound, BOUNDS } from "../engine/schedules/registry.ts";
import { runTraining, type TrainingStage } from "./training.ts";

/** Trains a model without adapters on the tokens of a stage and writes an artifact of kind `classifier`. */
export async function trainClassifier(
  stage: TrainingStage,
  method: Bound,
): Promise<void> {
  const { trains } = BOUNDS[method];
  const folder = stage.inputs.model.path;
  const { model, layout, values, best, record } = await runTraining(stage, {
    trained: trains,
    objective: WITHOUT_ADAPTERS,
    alpha: 1,
    scaling: "rank",
    ranks: [0],
  });
  const frozen = trains === "head" ? pretrained(folder, model) : {};
  const tensors = (values: Float32Array) => ({
    ...frozen,
    ...toTensors(values, layout),
  });
  await writeClassifier(stage.output, folder, {
    architecture: model.architecture,
    tensors: tensors(values),
    best: best && tensors(best),
    training: { method, ...record },
  });
}

/** The tensors of a model folder's encoder. */
function pretrained(folder: string, model: Model) {
  using file = openWeights(folder);
  return encoderTensors(file, model);
}
