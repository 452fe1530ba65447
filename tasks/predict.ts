import { z } from "zod";
import { readAdapter, tensorsOf } from "../lib/artifacts/adapter.ts";
import { checkClasses, outputsOf } from "../lib/artifacts/classes.ts";
import {
  PREDICTIONS_FILES,
  writePredictions,
} from "../lib/artifacts/predictions.ts";
import { checkServed } from "../lib/artifacts/ranks.ts";
import { readFittingTokens, readTokens } from "../lib/artifacts/tokens.ts";
import { predictionsOf } from "../lib/glue/metrics.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  epoch,
  evaluationBatch,
  precision,
  split,
} from "../lib/stages/settings.ts";

export default defineTask({
  description: "Predict the labels of a split with an adapter at one rank",
  params: z.strictObject({
    split: split.default("test").describe(
      "Split to predict; labels are not needed",
    ),
    rank: z.int().min(1).optional().describe(
      "Rank to predict at; default: the rank of the adapter",
    ),
    batchSize: evaluationBatch,
    epoch,
    precision,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "predictions", files: PREDICTIONS_FILES },
  needs: ["engine"],
  async run(stage) {
    const { evaluateRanks } = await import(
      "../lib/engine/training/evaluation.ts"
    );
    const { adapterValues, loadFolder, startStageEngine } = await import(
      "../lib/stages/load_classifier.ts"
    );
    const { params, inputs, signal } = stage;
    const { split, batchSize } = params;
    const adapter = await readAdapter(inputs.adapter![0]!.path);
    const { alpha, scaling, rank: largest } = adapter.training;
    const tensors = tensorsOf(adapter, params.epoch);
    const rank = params.rank ?? largest;
    checkServed(rank, adapter.training);
    const [model, folder] = [inputs.model![0]!.path, inputs.tokens![0]!.path];
    const info = await readFittingTokens(folder, model);
    const { index, ...tokens } = readTokens(folder, info, split);
    checkClasses(adapter.training, info);
    const precision = await startStageEngine(stage);
    const outputs = outputsOf(info.labels);
    const classifier = loadFolder(
      model,
      outputs,
      adapter.training,
    );
    const logits = await evaluateRanks(
      classifier,
      adapterValues({ tensors }, classifier.layout),
      // Prediction ignores labels.
      { ...tokens, labels: new Float32Array(index.length) },
      {
        alpha,
        scaling,
        ranks: [rank],
        batchSize,
        signal,
        progress: (done, note) =>
          stage.progress(done, index.length, "examples", note),
      },
    );
    await writePredictions(stage.output, {
      task: info.task,
      labels: info.labels,
      split,
      rank,
      precision,
    }, { index, predictions: predictionsOf(logits, outputs) });
  },
});
