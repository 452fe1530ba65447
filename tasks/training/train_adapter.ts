import { initialParameters } from "../../lib/engine/parameters.ts";
import type { Matryoshka } from "../../lib/engine/ranks/matryoshka.ts";
import { toPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import { seededRandom } from "../../lib/engine/random.ts";
import type { RankScope } from "../../lib/engine/ranks/rank_draws.ts";
import type {
  RankScaling,
  UpdateMode,
} from "../../lib/engine/ranks/rank_vectors.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import {
  type Adapter,
  readAdapter,
  writeAdapter,
} from "../artifacts/adapter.ts";
import { readModelOrigin } from "../artifacts/model.ts";
import type { Sampler } from "../artifacts/sampler.ts";
import { servedRanks, type Training } from "../artifacts/training.ts";
import { loadClassifier } from "./load_classifier.ts";
import { trainingOptions, type TrainingSettings } from "./settings.ts";
import { StageTraining } from "./stage_training.ts";
import { startFrom } from "./start_adapter.ts";

/** What DyLoRA adds to LoRA: which rank a step draws, what it trains, and at which scale. */
export interface RankTraining {
  readonly method: "dylora" | "lora" | "matryoshka";
  readonly mode: UpdateMode;
  readonly sampler: Sampler;
  readonly scaling: RankScaling;
  readonly scope: RankScope;
  readonly matryoshka?: Matryoshka;
}

/** Trains an adapter on a stage's tokens and writes it as the stage's artifact. */
export async function trainAdapter(
  stage: Stage<TrainingSettings>,
  ranks: RankTraining,
): Promise<void> {
  const { params, inputs } = stage;
  const training = await StageTraining.open(stage);
  const model = inputs.model![0]!.path;
  const baseModel = await readModelOrigin(model);
  const startFolder = inputs.start?.[0]?.path;
  const start = startFolder === undefined
    ? undefined
    : await readAdapter(startFolder);
  await training.startEngine();
  const classifier = loadClassifier(model, params.rank, training.outputs);
  const { config, layout, pooler } = classifier;
  const fresh = initialParameters(
    layout,
    pooler,
    seededRandom(params.seed, "init"),
  );
  const { alpha } = params;
  const { method, mode, sampler, scaling, scope, matryoshka } = ranks;
  const initial = start === undefined
    ? fresh
    : startFrom(start, fresh, classifier, {
      alpha,
      baseModel,
      method,
      scaling,
    });
  const { values, best, record } = await training.run(
    classifier,
    initial,
    {
      ...trainingOptions(params, training.info.maxLength),
      mode,
      sampler,
      scaling,
      scope,
      matryoshka,
    },
    {
      scaling,
      ranks: servedRanks({ ...ranks, rank: params.rank }),
    },
  );
  const tensors = (values: Float32Array) =>
    toPeftTensors(values, layout, config.architecture, layout.rank);
  await writeAdapter(stage.output, {
    baseModel,
    training: {
      ...record,
      ...rankRecord(ranks),
      rank: params.rank,
      alpha,
      start: start === undefined ? null : originOf(start),
    },
    tensors: tensors(values),
    best: best && tensors(best),
  });
}

/** What `training.json` says of the ranks that were trained. */
function rankRecord(ranks: RankTraining) {
  const { method, mode, sampler, scaling, scope, matryoshka } = ranks;
  const dylora = method === "dylora";
  return {
    method,
    scaling,
    mode: dylora ? mode : null,
    sampler: dylora ? sampler : null,
    scope: dylora ? scope : null,
    matryoshka: matryoshka === undefined ? null : {
      objective: matryoshka.objective,
      ranks: [...matryoshka.ranks],
      weights: [...matryoshka.weights],
    },
  };
}

/** The training that an adapter comes from. */
function originOf(
  { training: { method, task, seed } }: Adapter,
): NonNullable<Training["start"]> {
  return { method, task, seed };
}
