import { peftAlpha } from "../lib/engine/methods/method.ts";
import { join } from "node:path";
import { z } from "zod";
import {
  type Adapter,
  PEFT_FILES,
  writePeftFiles,
} from "../lib/artifacts/adapter.ts";
import type { ModelOrigin } from "../lib/artifacts/model.ts";
import type { ModuleRanks } from "../lib/artifacts/ranks.ts";
import { peftTargets } from "../lib/engine/adapters/peft.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Export an adapter for PEFT, at one rank or at a rank per module",
  params: z.strictObject({
    ...rankToTake,
    baseModel: z.string().min(1).optional().describe(
      "Base model to write into the PEFT configuration, such as OWNER/NAME of the hub; default: the model on which the adapter was trained",
    ),
  }),
  inputs: {
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
    ranks: { kind: "ranks", optional: true },
  },
  output: { kind: "peft", files: [...PEFT_FILES, "README.md"] },
  small: true,
  async run(stage) {
    const { readCutAdapter } = await import("../lib/stages/cut_adapter.ts");
    const { params, output } = stage;
    const { adapter, ranks, tensors } = await readCutAdapter(stage);
    const { training } = adapter;
    const baseModel = params.baseModel === undefined
      ? adapter.baseModel
      : { name: params.baseModel, revision: null };
    await writePeftFiles(
      output,
      {
        baseModel,
        targetModules: training.targetModules,
        ...peftScales(ranks, training),
      },
      tensors,
    );
    const { task, labels } = training;
    const card = {
      baseModel,
      named: params.baseModel !== undefined,
      task,
      labels,
      modules: peftTargets(training.targetModules, Object.keys(tensors)),
    };
    await Deno.writeTextFile(join(output, "README.md"), modelCard(card, ranks));
    const used = [...new Set(ranks.values())].sort((a, b) => a - b);
    stage.log(
      `${training.method} of rank ${training.rank} at ${
        used.length === 1 ? `rank ${used[0]}` : `ranks ${used.join(", ")}`
      }`,
    );
  },
});

/**
 * Ranks and alphas for the configuration of PEFT: the largest rank, and patterns
 * for modules with another one. PEFT scales by alpha / b at rank b, so an adapter
 * with another scale gets the alpha that makes it up.
 */
function peftScales(ranks: ModuleRanks, training: Adapter["training"]) {
  const { scaling } = training;
  const alphaAt = (rank: number) =>
    peftAlpha(rank, training.alpha, training.rank, scaling);
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

/** Content of a model card. */
interface CardContent {
  readonly baseModel: ModelOrigin | undefined;
  /** True if the user named the base model, so that the name is an argument of `from_pretrained`. */
  readonly named: boolean;
  readonly task: string;
  /** Class names in the order of their ids; null for a regression. */
  readonly labels: readonly string[] | null;
  /** Names of the modules that carry adapters. */
  readonly modules: readonly string[];
}

/** The `README.md` of an exported adapter, with the Python code that loads it. */
export function modelCard(
  { baseModel, named, task, labels, modules }: CardContent,
  ranks: ModuleRanks,
): string {
  const used = [...new Set(ranks.values())].sort((a, b) => a - b);
  const head = labels === null
    ? 'num_labels=1, problem_type="regression"'
    : `num_labels=${labels.length}, id2label=dict(enumerate(${
      JSON.stringify(labels)
    }))`;
  return `---
library_name: peft
tags: [lora, text-classification]
---

# LoRA for ${task}

${
    used.length === 1
      ? `Rank ${used[0]} on ${modules.join(" and ")}`
      : `Ranks ${used.join(", ")} on ${modules.join(" and ")}, by module,`
  } with the classification head, in float32.

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

base = AutoModelForSequenceClassification.from_pretrained(
    ${baseText(baseModel, named)}, ${head})
model = PeftModel.from_pretrained(base, "the folder of this file")
\`\`\`
`;
}

/** Python arguments of `from_pretrained`: a name on the hub, or a placeholder for a local folder. */
function baseText(
  baseModel: ModelOrigin | undefined,
  named: boolean,
): string {
  if (baseModel === undefined) {
    return JSON.stringify("the model on which the adapter was trained");
  }
  const { name, revision } = baseModel;
  if (!named && !/^[^/:]+\/[^/:]+$/.test(name)) {
    return JSON.stringify(`the folder of the model ${name}`);
  }
  const at = revision === null ? "" : `, revision=${JSON.stringify(revision)}`;
  return JSON.stringify(name) + at;
}
