import { join } from "node:path";
import { writeClassifier } from "../artifacts/classifier.ts";
import type { ClassifierMethod } from "../engine/methods/method.ts";
import { tensorReader, toTensors } from "../engine/models/parameters.ts";
import type { Model } from "../engine/models/model.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import type { TensorValues } from "../engine/safetensors/writer.ts";
import type { Stage } from "../pipeline/task.ts";
import { loadFolder } from "./load_classifier.ts";
import { type ClassifierSettings, trainingOptions } from "./settings.ts";
import { StageTraining } from "./training.ts";

/** Trains a model without adapters on the tokens of a stage and writes an artifact of kind `classifier`. */
export async function trainClassifier(
  stage: Stage<ClassifierSettings>,
  { name: method, trains }: ClassifierMethod,
): Promise<void> {
  const { params } = stage;
  const folder = stage.inputs.model![0]!.path;
  const training = await StageTraining.open(stage);
  await training.startEngine();
  const classifier = loadFolder(folder, training.outputs, trains);
  const { model, layout } = classifier;
  const { values, best, record } = await training.run(
    classifier,
    classifier.start(params.seed),
    trainingOptions(params, training.info.maxLength),
    { alpha: 1, scaling: "rank", ranks: [0] },
  );
  const tensors = (values: Float32Array) => ({
    ...pretrained(folder, model),
    ...toTensors(values, layout),
  });
  await writeClassifier(stage.output, folder, {
    architecture: model.architecture,
    tensors: tensors(values),
    best: best && tensors(best),
    training: { method, ...record },
  });
}

/** The encoder's tensors as they are in the model's folder. */
function pretrained(
  folder: string,
  model: Model,
): Record<string, TensorValues> {
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const read = tensorReader(file, model);
  return Object.fromEntries(
    [...model.tensors].map(([name, shape]) => [
      name,
      { shape, values: read(name, shape) as Float32Array },
    ]),
  );
}
