import {
  type ClassifierTraining,
  writeClassifier,
} from "../artifacts/classifier.ts";
import type { Classifier } from "../engine/classifier.ts";
import { toClassifierTensors } from "../engine/fine_tuning/classifier_tensors.ts";
import { initialParameters, parameterLayout } from "../engine/parameters.ts";
import { seededRandom } from "../engine/random.ts";
import type { Stage } from "../pipeline/task.ts";
import { loadClassifier, loadWholeClassifier } from "./load_classifier.ts";
import { classifierOptions, type ClassifierSettings } from "./settings.ts";
import { StageTraining } from "./training.ts";

/** Trains a model without adapters on a stage's tokens and writes it as the stage's artifact. */
export async function trainClassifier(
  stage: Stage<ClassifierSettings>,
  method: ClassifierTraining["method"],
): Promise<void> {
  const { params } = stage;
  const model = stage.inputs.model![0]!.path;
  const training = await StageTraining.open(stage);
  await training.startEngine();
  const { classifier, initial, frozen } = startOf(
    model,
    training.outputs,
    method,
    params.seed,
  );
  const { values, best, record } = await training.run(
    classifier,
    initial,
    classifierOptions(params, training.info.maxLength),
    { scaling: "rank", ranks: [0] },
  );
  const { config: { architecture }, layout } = classifier;
  const tensors = (values: Float32Array) => ({
    ...frozen,
    ...toClassifierTensors(values, layout, architecture),
  });
  await writeClassifier(stage.output, model, {
    architecture,
    tensors: tensors(values),
    best: best && tensors(best),
    training: { method, ...record },
  });
}

/** A classifier before its training. */
interface Start {
  readonly classifier: Classifier;
  /** Flat parameters */
  readonly initial: Float32Array;
  /** Tensors that training leaves as they are. */
  readonly frozen: ReturnType<typeof toClassifierTensors>;
}

/** The head starts as that of an adapter does, for the same seed with the same values in both methods. */
function startOf(
  folder: string,
  labels: number,
  method: ClassifierTraining["method"],
  seed: number,
): Start {
  const whole = loadWholeClassifier(folder, labels);
  const { config, layout: all, pooler, values } = whole;
  const head = parameterLayout(config, 0, labels);
  const headValues = initialParameters(
    head,
    pooler,
    seededRandom(seed, "init"),
  );
  if (method === "full") {
    values.set(headValues, all.size - head.size);
    return { classifier: whole, initial: values, frozen: {} };
  }
  return {
    classifier: loadClassifier(folder, 0, labels),
    initial: headValues,
    frozen: toClassifierTensors(values, all, config.architecture),
  };
}
