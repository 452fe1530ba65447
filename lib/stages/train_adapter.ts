import { elementCount } from "../engine/safetensors/reader.ts";
import * as z from "zod";
import {
  type Adapter,
  readAdapter,
  writeAdapter,
} from "../artifacts/adapter.ts";
import {
  checkClasses,
  outputsOf,
  type TaskClasses,
} from "../artifacts/classes.ts";
import { findModelOrigin, type ModelOrigin } from "../artifacts/model.ts";
import { type AdapterRecord, servedRanks } from "../artifacts/training.ts";
import { PEFT_PREFIX } from "../engine/models/peft.ts";
import {
  type AdapterScale,
  type RankScaling,
  scaleAt,
} from "../engine/adapters/scale.ts";
import { atRank } from "../engine/models/classifier.ts";
import type { ClassifierShape } from "../engine/models/outline.ts";
import { parameterLayout, toTensors } from "../engine/models/parameters.ts";
import { Method, methodName } from "../engine/schedules/registry.ts";
import type { Schedule } from "../engine/schedules/schedule.ts";
import type { InputsOf, Stage } from "../pipeline/task.ts";
import { adapterValues } from "./load_classifier.ts";
import type { ADAPTER_TRAINING, TrainingSettings } from "./settings.ts";
import { StageTraining } from "./training.ts";

/** Trains an adapter by a schedule on the tokens of a stage and writes an artifact of kind `adapter`. */
export async function trainAdapter(
  stage: Stage<
    & TrainingSettings
    & Partial<Pick<AdapterScale, "scaling">>
    & { readonly alphaRank?: number | undefined },
    InputsOf<typeof ADAPTER_TRAINING["inputs"]>
  >,
  schedule: Schedule,
): Promise<void> {
  const { inputs } = stage;
  const training = await StageTraining.open(stage);
  const baseModel = await findModelOrigin(inputs.model.path);
  const start = inputs.start && await readAdapter(inputs.start.path);
  const params = withDefaults(stage.params, start);
  const { adapter, rank, seed, scaling = schedule.scaling } = params;
  const { alphaRank = rank } = params;
  const given = { rank: alphaRank, alpha: params.alpha, scaling };
  const alpha = alphaRank === rank ? given.alpha : rank * scaleAt(rank, given);
  if (params.startHead === "kept") checkHead(start, training.info);
  const settings = z.object(schedule.settings).parse(params);
  const own = {
    method: Method.parse({ name: schedule.name, ...settings }),
    imported: false,
    reducedBy: null,
    adapter,
    rank,
    alpha,
    scaling,
  } as const;
  const objective = schedule.objective(settings, own);
  const classifier = await training.load(params);
  const { model, layout } = classifier;
  const first = atRank(classifier, objective.sources?.[0]?.rank ?? rank);
  const { targetModules = model.architecture.targetModules } = params;
  const fresh = classifier.start(seed, first);
  const initial = start === undefined ? fresh : startFrom(start, fresh, first, {
    ...own,
    baseModel,
    targetModules,
  }, params.startHead);
  const { values, best, record } = await training.run(
    classifier,
    initial,
    objective,
    { alpha, scaling, ranks: servedRanks(own) },
  );
  const tensors = (values: Float32Array) =>
    toTensors(values, layout, PEFT_PREFIX);
  await writeAdapter(stage.output, {
    baseModel,
    training: {
      ...record,
      ...own,
      targetModules,
      start: start === undefined ? null : {
        method: methodName(start.training),
        task: start.training.task,
        seed: start.training.seed,
      },
    },
    tensors: tensors(values),
    best: best && tensors(best),
  });
}

/** Where a training gives no rank, alpha and modules: those of the adapter that it continues from, otherwise those of the paper. */
function withDefaults<Params extends TrainingSettings>(
  params: Params,
  start: Adapter | undefined,
): Params & Pick<AdapterScale, "rank" | "alpha"> {
  const { adapter, rank, alpha, targetModules }: Partial<AdapterRecord> =
    start?.training ?? { rank: 8, alpha: 16 };
  return { adapter, rank, alpha, targetModules, ...params } as
    & Params
    & Pick<AdapterScale, "rank" | "alpha">;
}

/**
 * Checks that a training can go on with the head of the adapter that it starts from.
 *
 * @throws {RangeError} If there is none, or its classes are not those of the tokens.
 */
function checkHead(start: Adapter | undefined, tokens: TaskClasses): void {
  if (start !== undefined) return checkClasses(start.training, tokens);
  throw new RangeError(
    '"startHead: kept" requires an adapter: connect one to the input "start", or remove "startHead"',
  );
}

/**
 * Initial parameters of a training that continues from an adapter: its LoRA
 * values, and its head or a new one, since its task may have other classes.
 *
 * @param initial Flat parameters with a new head, `[size]`
 * @throws {RangeError} If rank, alpha, modules or model differ, or both are of one method with different scaling.
 * @throws {SyntaxError} Naming the tensor, if the adapter does not fit the model.
 */
export function startFrom(
  { baseModel, training, tensors }: Omit<Adapter, "best">,
  initial: Float32Array,
  { model, layout }: ClassifierShape,
  own:
    & Pick<Adapter, "baseModel">
    & Pick<
      AdapterRecord,
      | "method"
      | "imported"
      | "reducedBy"
      | "alpha"
      | "scaling"
      | "targetModules"
    >,
  head: TrainingSettings["startHead"] = "new",
): Float32Array {
  const labels = outputsOf(training.labels);
  const theirs = parameterLayout(model, labels, training);
  const isSameMethod = methodName(training) === methodName(own);
  for (
    const [name, found, expected] of [
      ["adapter", theirs.kind.name, layout.kind.name],
      ["rank", training.rank, layout.rank],
      ["alpha", training.alpha, own.alpha],
      ["targetModules", inWords(training), inWords(own)],
      [
        "scaling",
        isSameMethod ? settingOf(training.scaling) : undefined,
        settingOf(own.scaling),
      ],
      [
        "model",
        // PEFT notes whatever path or name the model was loaded by.
        training.imported ? undefined : nameOf(baseModel),
        nameOf(own.baseModel),
      ],
    ] as const
  ) {
    const known = found !== undefined && expected !== undefined;
    if (known && found !== expected) {
      throw new RangeError(
        `The adapter of the input "start" has ${name} ${found}, but this training has ${name} ${expected}: use the same ${name} for both`,
      );
    }
  }
  const start = adapterValues({ tensors }, theirs);
  const values = initial.slice();
  for (const { name, module, offset, shape } of theirs.entries.values()) {
    if (module === undefined && head === "new") continue;
    const size = elementCount(shape);
    values.set(
      start.subarray(offset, offset + size),
      layout.entries.get(name)!.offset,
    );
  }
  return values;
}

/** A scaling as the value of a parameter. */
function settingOf(scaling: RankScaling): string {
  return typeof scaling === "string" ? scaling : JSON.stringify(scaling);
}

function inWords(
  { targetModules }: Pick<AdapterRecord, "targetModules">,
): string {
  return [targetModules].flat().sort().join(", ");
}

function nameOf(origin: ModelOrigin | undefined): string | undefined {
  return origin &&
    (origin.revision ? `${origin.name}@${origin.revision}` : origin.name);
}
