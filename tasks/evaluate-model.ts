import type { Classifier } from "../lib/engine/classifier.ts";
import { join } from "node:path";
import { z } from "zod";
import { checkClasses } from "../lib/artifacts/classes.ts";
import {
  modelFolderOf,
  readClassifierTraining,
} from "../lib/artifacts/classifier.ts";
import { digestOf } from "../lib/artifacts/json_file.ts";
import { SCORES_FILES } from "../lib/artifacts/scores.ts";
import { readFittingTokens } from "../lib/artifacts/tokens.ts";
import { SafetensorsFile } from "../lib/engine/safetensors/reader.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  epoch,
  evaluationBatch,
  precision,
  split,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Evaluate a model that was trained without adapters; its scores stand at rank 0",
  params: z.strictObject({
    split: split.default("validation").describe(
      "Split to evaluate on; of MNLI, validation is validation_matched",
    ),
    batchSize: evaluationBatch,
    epoch,
    precision,
  }),
  inputs: { model: { kind: "classifier" }, tokens: { kind: "tokens" } },
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  async run(stage) {
    const { loadClassifier, startStageEngine } = await import(
      "../lib/stages/load_classifier.ts"
    );
    const { ScoredSplit, writeSplitScores } = await import(
      "../lib/stages/scored_split.ts"
    );
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
        values: await headValues(folder, classifier),
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
  },
});

/**
 * The head of a model folder, flat.
 *
 * @throws {SyntaxError} Naming the tensor, if the model has another head than the tokens' task.
 */
async function headValues(
  folder: string,
  { layout, config }: Classifier,
): Promise<Float32Array> {
  const { fromClassifierTensors } = await import(
    "../lib/engine/fine_tuning/classifier_tensors.ts"
  );
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
