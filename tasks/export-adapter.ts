import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import {
  type Adapter,
  PEFT_FILES,
  writePeftFiles,
} from "../lib/artifacts/adapter.ts";
import {
  CLASSES_FILE,
  outputsOf,
  writeClasses,
} from "../lib/artifacts/classes.ts";
import { type ModelOrigin, readModel } from "../lib/artifacts/model.ts";
import type { ModuleRanks } from "../lib/artifacts/ranks.ts";
import { peftTargets } from "../lib/engine/adapters/peft.ts";
import { peftAlpha } from "../lib/engine/adapters/scale.ts";
import { methodName } from "../lib/engine/schedules/registry.ts";
import { defineTask, type InputArtifact } from "../lib/pipeline/task.ts";
import { rankToTake } from "../lib/stages/settings.ts";

const list = z.array(z.string().min(1)).min(1).nullish();

export default defineTask({
  description:
    "Export an adapter for PEFT, at one rank or at a rank per module",
  params: z.strictObject({
    ...rankToTake,
    baseModel: z.string().min(1).nullish().describe(
      "Base model to write into the PEFT configuration: OWNER/NAME of the hub, or a folder; default: the repository of the hub on which the adapter was trained, or the folder of the input model",
    ),
    datasets: list.describe(
      "Data sets of the hub for the model card; default: nyu-mll/glue for tasks of GLUE",
    ),
    language: list.describe(
      "Languages for the model card, such as en; default: en for tasks of GLUE",
    ),
    license: z.string().min(1).nullish().describe(
      "License for the model card, such as apache-2.0",
    ),
  }),
  inputs: {
    adapter: { kind: "adapter" },
    /** The model on which the adapter was trained, for its tokenizer. */
    model: { kind: "model", optional: true },
    report: { kind: "report", optional: true },
    ranks: { kind: "ranks", optional: true },
  },
  output: { kind: "peft", files: [...PEFT_FILES, CLASSES_FILE, "README.md"] },
  places: true,
  small: true,
  async run(stage) {
    const { readCutAdapter } = await import("../lib/stages/cut_adapter.ts");
    const { modelCard } = await import("../lib/stages/model_card.ts");
    const { params, inputs, output } = stage;
    const model = inputs.model?.[0];
    const report = inputs.report?.[0];
    const { adapter, ranks, tensors } = await readCutAdapter(stage);
    const { training } = adapter;
    const base = baseModelOf(params.baseModel ?? undefined, adapter, model);
    await writePeftFiles(
      output,
      {
        baseModel: base.origin,
        targetModules: training.targetModules,
        ...peftScales(ranks, training),
      },
      tensors,
    );
    await writeClasses(output, training);
    if (model !== undefined) {
      const { copyTokenizer } = await import("../lib/artifacts/tokenizer.ts");
      const { architecture } = await readModel(model.path);
      await copyTokenizer(
        model.path,
        output,
        architecture,
        training.maxLength,
      );
    }
    const used = [...new Set(ranks.values())].sort((a, b) => a - b);
    const { scores, figure } = report === undefined || used.length > 1
      ? { scores: [], figure: undefined }
      : await copyScores(report.path, training, params, used[0]!, output);
    await Deno.writeTextFile(
      join(output, "README.md"),
      modelCard({
        training,
        baseModel: base.origin,
        isLoadable: base.isLoadable,
        hasOtherClasses: model !== undefined &&
          await hasOtherClasses(model.path, outputsOf(training.labels)),
        ranks,
        modules: peftTargets(training.targetModules, Object.keys(tensors)),
        scores,
        figure,
        datasets: params.datasets ?? undefined,
        language: params.language ?? undefined,
        license: params.license ?? undefined,
      }),
    );
    stage.log(
      `${methodName(training)} of rank ${training.rank} at ${
        used.length === 1 ? `rank ${used[0]}` : `ranks ${used.join(", ")}`
      }`,
    );
  },
});

/**
 * Ranks and alphas for the configuration of PEFT: the largest rank, and patterns
 * for modules with another one. PEFT scales by alpha / b at rank b, so an adapter
 * with another scale gets the alpha that gives the same scale.
 */
function peftScales(ranks: ModuleRanks, training: Adapter["training"]) {
  const { scaling } = training;
  const alphaAt = (rank: number) => peftAlpha(rank, training);
  const rank = Math.max(...ranks.values());
  const others = [...ranks].filter(([, other]) => other !== rank);
  const alpha = alphaAt(rank);
  return {
    rank,
    alpha,
    ...(others.length > 0 && { rankPattern: Object.fromEntries(others) }),
    ...(others.length > 0 && scaling !== "rank" && {
      alphaPattern: Object.fromEntries(
        others.map(([module, other]) => [module, alphaAt(other)]),
      ),
    }),
  };
}

/** The base model for the configuration, and whether transformers finds a model under its name. */
function baseModelOf(
  requested: string | undefined,
  { baseModel }: Adapter,
  model: InputArtifact | undefined,
): { readonly origin: ModelOrigin | undefined; readonly isLoadable: boolean } {
  if (requested !== undefined) {
    return { origin: { name: requested, revision: null }, isLoadable: true };
  }
  if (baseModel !== undefined && /^[\w.-]+\/[\w.-]+$/.test(baseModel.name)) {
    return { origin: baseModel, isLoadable: true };
  }
  return model === undefined
    ? { origin: baseModel, isLoadable: false }
    : { origin: { name: model.place!, revision: null }, isLoadable: true };
}

/** Whether a model was saved as a classifier with another number of outputs. */
async function hasOtherClasses(
  folder: string,
  outputs: number,
): Promise<boolean> {
  const { SafetensorsFile } = await import(
    "../lib/engine/safetensors/reader.ts"
  );
  const { headTensors } = await import("../lib/engine/models/outline.ts");
  const { architecture } = await readModel(folder);
  const { name } = headTensors(architecture).at(-1)!;
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const [found = outputs] = file.tensors.get(name)?.shape ?? [];
  return found !== outputs;
}

/** The scores of an adapter at a rank in a report; copies the figure of scores by rank. */
async function copyScores(
  report: string,
  training: Adapter["training"],
  params: Parameters<
    typeof import("../lib/stages/recommended_rank.ts").reportedScores
  >[2],
  rank: number,
  output: string,
) {
  const { reportedScores } = await import("../lib/stages/recommended_rank.ts");
  const { figureName } = await import("../lib/report/figure_names.ts");
  const scores = await reportedScores(report, training, params, rank);
  const [first] = scores;
  const drawn = first && join(report, figureName(first.comparison));
  if (!drawn || !existsSync(drawn)) return { scores, figure: undefined };
  const figure = "scores-by-rank.svg";
  await Deno.copyFile(drawn, join(output, figure));
  return { scores, figure };
}
