import { join } from "node:path";
import type { Stage } from "../../lib/pipeline/task.ts";
import type { Adapter } from "../artifacts/adapter.ts";
import type { ModuleRanks } from "../artifacts/module_ranks.ts";
import { writePeftFiles } from "../artifacts/peft_files.ts";
import { type CutSettings, readCutAdapter } from "./cut_adapter.ts";
import { modelCard } from "./model_card.ts";

/** Parameters of an export. */
export interface ExportSettings extends CutSettings {
  /** Name of the model that it is said to belong to, in place of its own. */
  readonly baseModel?: string | undefined;
}

/**
 * Writes a stage's adapter at a rank, or at a rank for each module, as PEFT
 * would have saved it. PEFT's scale, alpha / rank, is that of the adapter at
 * this rank.
 */
export async function exportAdapter(
  stage: Stage<ExportSettings>,
): Promise<void> {
  const { params, output } = stage;
  const { adapter, ranks, tensors } = await readCutAdapter(stage);
  const { training } = adapter;
  const baseModel = params.baseModel === undefined
    ? adapter.baseModel
    : { name: params.baseModel, revision: null };
  await writePeftFiles(
    output,
    { baseModel, ...peftScales(ranks, training) },
    tensors,
  );
  const { task, labels } = training;
  const card = {
    baseModel,
    named: params.baseModel !== undefined,
    task,
    labels,
  };
  await Deno.writeTextFile(join(output, "README.md"), modelCard(card, ranks));
  const used = [...new Set(ranks.values())].sort((a, b) => a - b);
  stage.log(
    `${training.method} of rank ${training.rank} at ${
      used.length === 1 ? `rank ${used[0]}` : `ranks ${used.join(", ")}`
    }`,
  );
}

/**
 * Ranks and alphas as PEFT's configuration gives them, the largest rank first
 * and what differs from it as a pattern. At rank b the scale of an adapter is
 * alpha / b, or alpha / R as it was trained; PEFT divides by b, so that alpha
 * becomes alpha b / R.
 */
function peftScales(ranks: ModuleRanks, training: Adapter["training"]) {
  const alphaAt = (rank: number) =>
    training.scaling === "rank"
      ? training.alpha
      : training.alpha * rank / training.rank;
  const rank = Math.max(...ranks.values());
  const others = [...ranks].filter(([, other]) => other !== rank);
  const alpha = alphaAt(rank);
  return {
    rank,
    alpha,
    ...(others.length > 0 && { rankPattern: Object.fromEntries(others) }),
    ...(others.length > 0 && training.scaling === "maximum" && {
      alphaPattern: Object.fromEntries(
        others.map(([module, other]) => [module, alphaAt(other)]),
      ),
    }),
  };
}
