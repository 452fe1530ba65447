import {
  type Adapter,
  readAdapter,
  writeAdapter,
} from "../artifacts/adapter.ts";
import { outputsOf } from "../artifacts/classes.ts";
import { type ModelOrigin, readModelOrigin } from "../artifacts/model.ts";
import { type AdapterRecord, Training } from "../artifacts/training.ts";
import { PEFT_PREFIX } from "../engine/adapters/peft.ts";
import {
  type AdapterMethod,
  scaleInWords,
  servedRanks,
} from "../engine/methods/method.ts";
import type { ClassifierShape } from "../engine/models/outline.ts";
import { parameterLayout, toTensors } from "../engine/models/parameters.ts";
import type { Stage } from "../pipeline/task.ts";
import { adapterValues, loadFolder } from "./load_classifier.ts";
import { trainingOptions, type TrainingSettings } from "./settings.ts";
import { StageTraining } from "./training.ts";

/** Trains an adapter by a method on the tokens of a stage and writes an artifact of kind `adapter`. */
export async function trainAdapter<Params>(
  stage: Stage<TrainingSettings & Params>,
  method: AdapterMethod<Params, object>,
): Promise<void> {
  const { params, inputs } = stage;
  const { rank, alpha, seed } = params;
  const training = await StageTraining.open(stage);
  const folder = inputs.model![0]!.path;
  const baseModel = await readModelOrigin(folder);
  const startFolder = inputs.start?.[0]?.path;
  const start = startFolder === undefined
    ? undefined
    : await readAdapter(startFolder);
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
    });
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

/** The entry `start` of `training.json`. */
function originOf(
  { training: { method, task, seed } }: Adapter,
): NonNullable<Training["start"]> {
  return { method, task, seed };
}

/**
 * Initial parameters of a training that continues from an adapter: its LoRA
 * values and a new head, since its task may have other classes.
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
): Float32Array {
  const isSameMethod = training.method === own.method;
  for (
    const [name, found, expected] of [
      ["rank", training.rank, layout.rank],
      ["alpha", training.alpha, own.alpha],
      ["targetModules", inWords(training), inWords(own)],
      [
        "scaling",
        isSameMethod ? scaleInWords(training.scaling) : undefined,
        own.scaling && scaleInWords(own.scaling),
      ],
      ["model", nameOf(baseModel), nameOf(own.baseModel)],
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
    if (factor === undefined) continue;
    const size = shape[0]! * shape[1]!;
    values.set(
      start.subarray(offset, offset + size),
      layout.entries.get(name)!.offset,
    );
  }
  return values;
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
