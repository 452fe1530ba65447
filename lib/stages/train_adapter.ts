import * as z from "zod";
import { type Adapter, readAdapter, writeAdapter } from "../peft/adapter.ts";
import { findModelOrigin, readModel } from "../artifacts/model.ts";
import { readTokensInfo } from "../artifacts/tokens.ts";
import { type AdapterRecord, servedRanks } from "../artifacts/training.ts";
import { kindNamed, LORA_B } from "../engine/adapters/registry.ts";
import { divisorAt, usesRslora } from "../engine/adapters/scale.ts";
import type { ParameterLayout } from "../engine/models/model.ts";
import type { ClassifierShape } from "../engine/models/outline.ts";
import { parameterLayout, toTensors } from "../engine/models/parameters.ts";
import { toPeftNames } from "../peft/names.ts";
import { elementCount } from "../engine/safetensors/reader.ts";
import {
  Method,
  methodName,
  provenanceOf,
  type ProvenanceRecord,
} from "../engine/schedules/registry.ts";
import type { Schedule } from "../engine/schedules/schedule.ts";
import { checkSameLabels, problemOf } from "../problems/registry.ts";
import { adapterValues } from "./load_classifier.ts";
import type { AdapterTrainingStage } from "./settings.ts";
import { runTraining } from "./training.ts";

/**
 * Trains an adapter by a schedule on the tokens of a stage and writes an
 * artifact of kind `adapter`.
 */
export async function trainAdapter(
  stage: AdapterTrainingStage,
  schedule: Schedule,
): Promise<void> {
  const { params, inputs: { model, tokens, ...inputs } } = stage;
  const baseModel = await findModelOrigin(model.path);
  const start = inputs.start && await readAdapter(inputs.start.path);
  if (params.startHead === "kept") {
    if (start === undefined) {
      throw new RangeError(
        '"startHead: kept" requires an adapter: connect one to the input "start", or remove "startHead"',
      );
    }
    checkSameLabels(start.training, await readTokensInfo(tokens.path));
  }
  const {
    adapter,
    rank = 8,
    alpha = 16,
    loraDropout = 0,
    targetModules = readModel(model.path).architecture.targetModules,
  } = { ...start?.training, ...params };
  const {
    useRslora = start !== undefined && usesRslora(start.training.scaling),
  } = params;
  const plainScaling = params.scaling ?? schedule.scaling;
  const scaling = useRslora ? { rslora: plainScaling } : plainScaling;
  const settings = z.object(schedule.settings).parse(params);
  const settled = {
    method: Method.parse({ name: schedule.name, ...settings }),
    imported: false,
    reducedBy: null,
    adapter,
    rank,
    alpha,
    scaling,
    loraDropout: loraDropout || undefined,
    targetModules,
  } as const;
  if (loraDropout > 0 && kindNamed(adapter) !== kindNamed()) {
    throw new RangeError(
      `"loraDropout: ${loraDropout}" is not supported with "adapter: ${adapter}", whose frozen product PEFT drops as well: use 0, or "adapter: ${kindNamed().name}"`,
    );
  }
  const compared = { ...settled, baseModel };
  const trained = await runTraining(stage, {
    trained: settled,
    objective: schedule.objective(settings, settled),
    alpha,
    scaling,
    ranks: servedRanks(settled),
    startFrom: start &&
      ((...fresh) => startFrom(start, ...fresh, compared, params.startHead)),
  });
  const { layout, values, best, record } = trained;
  const tensors = (values: Float32Array) =>
    toPeftNames(toTensors(values, layout), trained.model);
  await writeAdapter(stage.output, {
    baseModel,
    training: {
      ...record,
      ...settled,
      start: start === undefined ? null : {
        method: methodName(provenanceOf(start.training)),
        task: start.training.task,
        seed: start.training.seed,
      },
    },
    tensors: tensors(values),
    best: best && tensors(best),
  });
}

/**
 * Initial parameters of a training that continues from an adapter: its LoRA
 * values, and its head or a new one, since its task may have other classes. An
 * adapter of a lower rank keeps its product; the rows beyond it add nothing
 * yet.
 *
 * @param initial Flat parameters with a new head, `[size]`
 * @param next The training that continues
 * @throws {RangeError} If its rank is higher, alpha, modules or model differ,
 * or both are of one method with different scaling.
 * @throws {SyntaxError} Naming the tensor, if the adapter does not fit the
 * model.
 */
export function startFrom(
  { baseModel, training, tensors }: Omit<Adapter, "best">,
  initial: Float32Array,
  { model, layout }: ClassifierShape,
  next: Compared & ProvenanceRecord,
  head: AdapterTrainingStage["params"]["startHead"] = "new",
): Float32Array {
  const { outputs } = problemOf(training);
  const layoutBefore = parameterLayout(model, outputs, training);
  const isSameMethod = methodName(provenanceOf(training)) ===
    methodName(provenanceOf(next));
  const before = {
    ...inWords({ ...training, baseModel }, layoutBefore),
    ...(layoutBefore.rank < layout.rank && { rank: undefined }),
    ...(!isSameMethod && { scaling: undefined }),
    // PEFT notes whatever path or name the model was loaded by.
    ...(training.imported && { model: undefined }),
  };
  for (const [name, expected] of Object.entries(inWords(next, layout))) {
    const other = before[name as keyof typeof before];
    const areKnown = other !== undefined && expected !== undefined;
    if (areKnown && other !== expected) {
      const remedy = name === "rank"
        ? "train with at least that rank"
        : `use the same ${name} for both`;
      throw new RangeError(
        `The adapter of the input "start" has ${name} ${other}, but this training has ${name} ${expected}: ${remedy}`,
      );
    }
  }
  const start = adapterValues(tensors, { model, layout: layoutBefore });
  const values = initial.slice();
  // At its own rank, each has the scale that PEFT gives it.
  const ratio = divisorAt(layout.rank, next.scaling) /
    divisorAt(layoutBefore.rank, training.scaling);
  const { entries } = layoutBefore;
  for (const { name, module, offset, shape } of entries.values()) {
    if (module === undefined && head === "new") continue;
    const factor = name.endsWith(`.${LORA_B}`) ? ratio : 1;
    values.set(
      start.subarray(offset, offset + elementCount(shape))
        .map((value) => factor * value),
      layout.entries.get(name)!.offset,
    );
  }
  return values;
}

/**
 * What an adapter and a training that continues from it must have in common,
 * besides what their layouts show.
 */
type Compared =
  & Pick<Adapter, "baseModel">
  & Pick<AdapterRecord, "alpha" | "scaling" | "targetModules">;

function inWords(
  { alpha, targetModules, scaling, baseModel }: Compared,
  { kind, rank }: ParameterLayout,
) {
  return {
    adapter: kind.name,
    rank,
    alpha,
    targetModules: [targetModules].flat().sort().join(", "),
    scaling: typeof scaling === "string" ? scaling : JSON.stringify(scaling),
    model: baseModel &&
      [baseModel.name, baseModel.revision].filter((it) => it).join("@"),
  };
}
