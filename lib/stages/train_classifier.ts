import { join } from "@std/path/posix/join";
import { writeClassifier } from "../artifacts/classifier.ts";
import { encoderTensors, toTensors } from "../engine/models/parameters.ts";
import type { Model } from "../engine/models/model.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import { WITHOUT_ADAPTERS } from "../engine/schedules/fixed.ts";
import { type Bound, BOUNDS } from "../engine/schedules/registry.ts";
import { StageTraining, type TrainingStage } from "./training.ts";

/** Trains a model without adapters on the tokens of a stage and writes an artifact of kind `classifier`. */
export async function trainClassifier(
  stage: TrainingStage,
  method: Bound,
): Promise<void> {
  const { params } = stage;
  const { trains } = BOUNDS[method];
  const folder = stage.inputs.model.path;
  const training = await StageTraining.open(stage);
  const classifier = await training.load(trains);
  const { model, layout } = classifier;
  const { values, best, record } = await training.run(
    classifier,
    classifier.start(params.seed),
    WITHOUT_ADAPTERS,
    { alpha: 1, scaling: "rank", ranks: [0] },
  );
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
function pretrained(
  folder: string,
  model: Model,
): Record<string, TensorValues> {
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  return encoderTensors(file, model);
}
