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
import { type ModelOrigin, readModelOrigin } from "../artifacts/model.ts";
import { type AdapterRecord, Training } from "../artifacts/training.ts";
import { PEFT_PREFIX } from "../engine/adapters/peft.ts";
import {
  type AdapterMethod,
  type AdapterSize,
  type RankScaling,
  servedRanks,
} from "../engine/methods/method.ts";
import type { ClassifierShape } from "../engine/models/outline.ts";
import {
  parameterLayout,
  sizeOf,
  toTensors,
} from "../engine/models/parameters.ts";
import type { Stage } from "../pipeline/task.ts";
import { adapterValues, loadFolder } from "./load_classifier.ts";
import { trainingOptions, type TrainingSettings } from "./settings.ts";
import { StageTraining } from "./training.ts";

/** Trains an adapter by a method on the tokens of a stage and writes an artifact of kind `adapter`. */
export async function trainAdapter<Params>(
  stage: Stage<TrainingSettings & Params>,
  method: AdapterMethod<Params, object>,
): Promise<void> {
  const { inputs } = stage;
  const training = await StageTraining.open(stage);
  const folder = inputs.model![0]!.path;
  const baseModel = await readModelOrigin(folder);
  const startFolder = inputs.start?.[0]?.path;
  const start = startFolder === undefined
    ? undefined
    : await readAdapter(startFolder);
  const params = withDefaults(stage.params, start);
  const { rank, alpha, seed } = params;
  if (params.startHead === "kept") checkHead(start, training.info);
  const objective = method.objective(params);
  const own = {
    method: method.name,
    rank,
    alpha,
    scaling: method.scaling(params),
    ...method.entry(params),
  };
  await training.startEngine();
  const classifier = loadFolder(folder, training.outputs, params);
  const { model, layout } = classifier;
  const { targetModules = model.architecture.targetModules } = params;
  const fresh = classifier.start(seed);
  const initial = start === undefined
    ? fresh
    : startFrom(start, fresh, classifier, {
      ...own,
      baseModel,
      targetModules,
    }, params.startHead);
  const { values, best, record } = await training.run(
    classifier,
    initial,
    trainingOptions(params, training.info.maxLength, objective),
    { alpha, scaling: own.scaling, ranks: servedRanks(method, own) },
  );
  const tensors = (values: Float32Array) =>
    toTensors(values, layout, PEFT_PREFIX);
  await writeAdapter(stage.output, {
    baseModel,
    training: Training.parse({
      ...record,
      ...own,
      targetModules,
      start: start === undefined ? null : originOf(start),
    }),
    tensors: tensors(values),
    best: best && tensors(best),
  });
}

/** Where a training gives no rank, alpha and modules: those of the adapter that it continues from, otherwise those of the paper. */
function withDefaults<Params extends TrainingSettings>(
  params: Params,
  start: Adapter | undefined,
): Params & AdapterSize {
  const { rank = 8, alpha = 16, targetModules } = start?.training ?? {};
  return {
    ...(targetModules && { targetModules }),
    ...params,
    rank: params.rank ?? rank,
    alpha: params.alpha ?? alpha,
  };
}

/** The entry `start` of `training.json`. */
function originOf(
  { training: { method, task, seed } }: Adapter,
): NonNullable<Training["start"]> {
  return { method, task, seed };
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
    & Pick<AdapterRecord, "method" | "alpha" | "scaling" | "targetModules">,
  head: TrainingSettings["startHead"] = "new",
): Float32Array {
  const isSameMethod = training.method === own.method;
  // PEFT notes whatever path or name the model was loaded by.
  const isTrainedHere = "steps" in training;
  for (
    const [name, found, expected] of [
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
        isTrainedHere ? nameOf(baseModel) : undefined,
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
  const labels = outputsOf(training.labels);
  const theirs = parameterLayout(model, labels, training);
  const start = adapterValues({ tensors }, theirs);
  const values = initial.slice();
  for (const { name, factor, offset, shape } of theirs.entries.values()) {
    if (factor === undefined && head === "new") continue;
    const size = sizeOf(shape);
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
