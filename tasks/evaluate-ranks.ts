import { join } from "node:path";
import { z } from "zod";
import { readAdapter, tensorsOf } from "../lib/artifacts/adapter.ts";
import { checkClasses } from "../lib/artifacts/classes.ts";
import { digestOf } from "../lib/artifacts/json_file.ts";
import { checkServed } from "../lib/artifacts/ranks.ts";
import { SCORES_FILES } from "../lib/artifacts/scores.ts";
import { readFittingTokens } from "../lib/artifacts/tokens.ts";
import { type AdapterRecord, servedRanks } from "../lib/artifacts/training.ts";
import { methodName } from "../lib/engine/schedules/registry.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  ADAPTER_INPUTS,
  epoch,
  precision,
  split,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Evaluate an adapter at all ranks that it serves, in one pass over the data",
  params: z.strictObject({
    split: split.default("validation").describe(
      "Split to evaluate on; for MNLI, validation means validation_matched",
    ),
    ranks: z.array(z.int().min(1)).min(1).optional().describe(
      "Ranks to evaluate; default: all ranks that the adapter serves",
    ),
    batchSize: z.int().min(1).optional().describe(
      "Examples per forward pass; default: 32, or fewer for more than 8 ranks",
    ),
    epoch,
    precision,
  }),
  inputs: ADAPTER_INPUTS,
  output: { kind: "scores", files: SCORES_FILES },
  needs: ["engine"],
  async run(stage) {
    const { evaluationBatchSize } = await import(
      "../lib/engine/training/evaluation.ts"
    );
    const { adapterValues, loadFolder, startStageEngine } = await import(
      "../lib/stages/load_classifier.ts"
    );
    const { ScoredSplit, writeSplitScores } = await import(
      "../lib/stages/scored_split.ts"
    );
    const { params } = stage;
    const folder = stage.inputs.adapter![0]!.path;
    const adapter = await readAdapter(folder);
    const { training } = adapter;
    const tensors = tensorsOf(adapter, params.epoch);
    const tokensFolder = stage.inputs.tokens![0]!.path;
    const model = stage.inputs.model![0]!.path;
    const info = await readFittingTokens(tokensFolder, model);
    const split = new ScoredSplit(tokensFolder, info, params.split);
    const ranks = ranksToEvaluate(training, params.ranks);
    checkClasses(training, info);
    const precision = await startStageEngine(stage);
    const classifier = loadFolder(
      model,
      split.outputs,
      training,
    );
    await writeSplitScores(
      stage,
      {
        classifier,
        values: adapterValues({ tensors }, classifier.layout),
        origin: {
          method: methodName(training),
          seed: training.seed,
          training: await digestOf(join(folder, "training.json")),
          epoch: params.epoch,
          precision,
        },
      },
      info,
      split,
      {
        alpha: training.alpha,
        scaling: training.scaling,
        ranks,
        batchSize: params.batchSize ?? evaluationBatchSize(ranks.length),
      },
    );
  },
});

/** @throws {RangeError} If a requested rank was not trained. */
function ranksToEvaluate(
  training: AdapterRecord,
  requested: readonly number[] | undefined,
): number[] {
  if (requested === undefined) return servedRanks(training);
  for (const rank of requested) checkServed(rank, training);
  return [...new Set(requested)].sort((a, b) => a - b);
}
