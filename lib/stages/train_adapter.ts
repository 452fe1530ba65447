import {
  type Adapter,
  readAdapter,
  writeAdapter,
} from "../artifacts/adapter.ts";
import { type ModelOrigin, readModelOrigin } from "../artifacts/model.ts";
import {
  type AdapterRecord,
  type Sampler,
  servedRanks,
  type Training,
} from "../artifacts/training.ts";
import { toPeftTensors } from "../engine/adapters/peft_adapter.ts";
import type { Classifier } from "../engine/classifier.ts";
import { initialParameters, parameterLayout } from "../engine/parameters.ts";
import { seededRandom } from "../engine/random.ts";
import type { Matryoshka } from "../engine/ranks/matryoshka.ts";
import type { RankScope } from "../engine/ranks/rank_draws.ts";
import type { RankScaling, UpdateMode } from "../engine/ranks/rank_vectors.ts";
import type { Stage } from "../pipeline/task.ts";
import { adapterValues, loadClassifier } from "./load_classifier.ts";
import { trainingOptions, type TrainingSettings } from "./settings.ts";
import { StageTraining } from "./training.ts";

/** What DyLoRA adds to LoRA: which rank a step draws, what it trains, and at which scale. */
interface RankTraining {
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

/**
 * Parameters at the start of a training that goes on from another one: its
 * adapters, and the head as it is, since the other's classes are others.
 *
 * @param initial Flat parameters with a fresh head, `[size]`
 * @throws {RangeError} If the other adapter has another rank, alpha or model, or both are DyLoRA's and scale the ranks otherwise.
 * @throws {SyntaxError} Naming the tensor, if it does not fit the model.
 */
export function startFrom(
  { baseModel, training, tensors }: Omit<Adapter, "best">,
  initial: Float32Array,
  { config, layout }: Pick<Classifier, "config" | "layout">,
  own:
    & Pick<Adapter, "baseModel">
    & Pick<AdapterRecord, "method" | "alpha" | "scaling">,
): Float32Array {
  for (
    const [name, found, expected] of [
      ["rank", training.rank, layout.rank],
      ["alpha", training.alpha, own.alpha],
      ["scaling", scalingOf(training), scalingOf(own)],
      ["model", nameOf(baseModel), nameOf(own.baseModel)],
    ] as const
  ) {
    const known = found !== undefined && expected !== undefined;
    if (known && found !== expected) {
      throw new RangeError(
        `The adapter of the input "start" has ${name} ${found}, but this training has ${expected}: give both the same ${name}`,
      );
    }
  }
  const labels = training.labels?.length ?? 1;
  const start = adapterValues({ tensors }, {
    config,
    layout: parameterLayout(config, layout.rank, labels),
  });
  const values = initial.slice();
  values.set(start.subarray(0, layout.adapterSize));
  return values;
}

/** How DyLoRA scales the ranks; the others have no choice. */
function scalingOf(
  { method, scaling }: Pick<AdapterRecord, "method" | "scaling">,
): string | undefined {
  return method === "dylora" ? scaling : undefined;
}

function nameOf(origin: ModelOrigin | undefined): string | undefined {
  return origin &&
    (origin.revision ? `${origin.name}@${origin.revision}` : origin.name);
}
