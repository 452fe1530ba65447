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
import type { ParameterLayout } from "../lib/engine/models/model.ts";
import { fromTensors } from "../lib/engine/models/parameters.ts";
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
    "Evaluate a model trained without adapters; its scores are reported at rank 0",
  params: z.strictObject({
    split: split.default("validation").describe(
      "Split to evaluate on; for MNLI, validation means validation_matched",
    ),
    batchSize: evaluationBatch,
    epoch,
    precision,
  }),
  inputs: { model: { kind: "classifier" }, tokens: { kind: "tokens" } },
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  async run(stage) {
    const { loadFolder, startStageEngine } = await import(
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
    const classifier = loadFolder(folder, split.outputs, "head");
    await writeSplitScores(
      stage,
      {
        classifier,
        values: headValues(folder, classifier.layout),
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
 * The head of a model folder as flat parameters, `[size]`.
 *
 * @throws {SyntaxError} Naming the tensor, if the head does not fit the tokens.
 */
function headValues(folder: string, layout: ParameterLayout): Float32Array {
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const read = (name: string, shape: readonly number[]) => {
    const found = file.tensors.get(name)?.shape;
    if (String(found) === String(shape)) return file.floats(name);
    throw new SyntaxError(
      `"${file.path}" does not fit the tokens: tensor "${name}" ` +
        (found === undefined ? "is missing" : `has shape [${found}]`) +
        `, expected [${shape}]`,
    );
  };
  return fromTensors(read, layout);
}
