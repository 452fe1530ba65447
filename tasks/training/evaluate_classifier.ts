import { join } from "node:path";
import { fromClassifierTensors } from "../../lib/engine/fine_tuning/classifier_tensors.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import {
  modelFolderOf,
  readClassifierTraining,
} from "../artifacts/classifier.ts";
import { checkClasses } from "../artifacts/classes.ts";
import { digestOf } from "../artifacts/digest.ts";
import { readFittingTokens } from "../artifacts/fitting_tokens.ts";
import type { EvaluationSettings } from "./evaluate_adapter.ts";
import { loadClassifier } from "./load_classifier.ts";
import { ScoredSplit } from "./scored_split.ts";
import { startStageEngine } from "./start_stage_engine.ts";
import { writeSplitScores } from "./write_split_scores.ts";

/** Parameters of the evaluation of a model without adapters. */
export interface ClassifierEvaluationSettings
  extends Pick<EvaluationSettings, "split" | "epoch" | "precision"> {
  readonly batchSize: number;
}

/** Evaluates a stage's model, which has no adapters, and writes its scores as the stage's artifact. */
export async function evaluateClassifier(
  stage: Stage<ClassifierEvaluationSettings>,
): Promise<void> {
  const { params } = stage;
  const artifact = stage.inputs.model![0]!.path;
  const training = await readClassifierTraining(artifact);
  const folder = modelFolderOf(artifact, training, params.epoch);
  const tokensFolder = stage.inputs.tokens![0]!.path;
  const info = await readFittingTokens(tokensFolder, folder);
  const split = new ScoredSplit(tokensFolder, info, params.split);
  checkClasses(training, info);
  const precision = await startStageEngine(stage);
  const classifier = loadClassifier(folder, 0, split.outputs);
  await writeSplitScores(
    stage,
    {
      classifier,
      values: headValues(folder, classifier),
      origin: {
        method: training.method,
        seed: training.seed,
        training: await digestOf(join(artifact, "training.json")),
        epoch: params.epoch,
        precision,
      },
    },
    info,
    split,
    { alpha: 1, scaling: "rank", ranks: [0], batchSize: params.batchSize },
  );
}

/**
 * The head of a model folder, flat.
 *
 * @throws {SyntaxError} Naming the tensor, if the model has another head than the tokens' task.
 */
function headValues(
  folder: string,
  { layout, config }: ReturnType<typeof loadClassifier>,
): Float32Array {
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const read = (name: string, shape: readonly number[]) => {
    const found = file.tensors.get(name)?.shape;
    if (String(found) === String(shape)) return file.floats(name);
    throw new SyntaxError(
      `"${file.path}" does not fit the tokens: tensor "${name}" should have shape [${shape}], and ` +
        (found === undefined ? "is missing" : `has [${found}]`),
    );
  };
  return fromClassifierTensors(read, layout, config.architecture);
}
