import { type Adapter, writePeftFiles } from "../peft/adapter.ts";
import { taskFields, writeClasses } from "../artifacts/classes.ts";
import {
  type ModelOrigin,
  openWeights,
  readModel,
} from "../artifacts/model.ts";
import { writeSentenceModules } from "../artifacts/sentence_encoder.ts";
import { copyTokenizer } from "../artifacts/tokenizer.ts";
import { peftAlpha } from "../engine/adapters/scale.ts";
import { headTensors } from "../engine/models/outline.ts";
import { methodName, provenanceOf } from "../engine/schedules/registry.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import type { Problem } from "../problems/problem.ts";
import { problemOf } from "../problems/registry.ts";
import { type CuttingStage, readCutAdapter } from "./cut_adapter.ts";
import { writeModelCard } from "./model_card.ts";

/** A stage that exports an adapter. */
type ExportingStage = CuttingStage<
  { readonly model: InputArtifact | undefined },
  { readonly baseModel?: string | null | undefined }
>;

/** Writes the adapter of a stage as an artifact of kind `peft`. */
export async function exportAdapter(stage: ExportingStage): Promise<void> {
  const { params, inputs: { model }, output } = stage;
  const cut = await readCutAdapter(stage);
  const { adapter, rank, tensors } = cut;
  const { training } = adapter;
  const base = baseModelOf(params.baseModel ?? undefined, adapter, model);
  // PEFT scales by alpha / b at rank b.
  const alpha = peftAlpha(rank, training);
  const exported = { ...training, baseModel: base.origin, rank, alpha };
  await writePeftFiles(output, exported, tensors);
  const { maxLength } = training;
  await writeClasses(output, { ...taskFields(training), maxLength });
  if (model !== undefined) await copyTokenizer(model.path, output, maxLength);
  const problem = problemOf(training);
  if (problem.head === "embedding") {
    if (model === undefined) {
      throw new RangeError(
        'An adapter for embeddings is exported with the pooling of its model: connect the model on which it was trained to the input "model"',
      );
    }
    await writeSentenceModules(model.path, output, maxLength);
  }
  await writeModelCard(stage, cut, {
    baseModel: base.origin,
    base: base.folder,
    hasOtherClasses: model !== undefined &&
      hasOtherClasses(model.path, problem),
    figure: "scores-by-rank.svg",
  });
  const method = methodName(provenanceOf(training));
  const named = base.folder ?? base.origin!.name;
  stage.log(
    `${method} of rank ${training.rank} at rank ${rank}, for the base model ${named}`,
  );
}

/**
 * The base model for the configuration of PEFT, which loads it from the hub or
 * from a folder; `folder` is for the user to fill in if it cannot.
 */
function baseModelOf(
  requested: string | undefined,
  { baseModel }: Adapter,
  model: InputArtifact | undefined,
): { readonly origin: ModelOrigin | undefined; readonly folder?: string } {
  const isOnHub = /^[\w.-]+\/[\w.-]+$/.test(baseModel?.name ?? "");
  const named = requested ?? (isOnHub ? undefined : model?.visiblePath);
  if (named !== undefined) return { origin: { name: named, revision: null } };
  if (isOnHub) return { origin: baseModel };
  const name = baseModel?.name ?? "on which the adapter was trained";
  return { origin: baseModel, folder: `the folder of the model ${name}` };
}

/** Whether a model was saved as a classifier with another number of outputs. */
function hasOtherClasses(
  folder: string,
  { head, outputs }: Pick<Problem, "head" | "outputs">,
): boolean {
  const last = headTensors(readModel(folder, head)).at(-1);
  using file = openWeights(folder);
  const [found = outputs] = file.tensors.get(last?.name ?? "")?.shape ?? [];
  return found !== outputs;
}
