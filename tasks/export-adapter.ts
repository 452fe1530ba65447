import { join } from "node:path";
import { z } from "zod";
import {
  type Adapter,
  PEFT_FILES,
  writePeftFiles,
} from "../lib/artifacts/adapter.ts";
import type { ModelOrigin } from "../lib/artifacts/model.ts";
import type { ModuleRanks } from "../lib/artifacts/ranks.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { rankToTake } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Export an adapter at a rank, or at a rank for each module, for PEFT",
  params: z.strictObject({
    ...rankToTake,
    baseModel: z.string().min(1).optional().describe(
      "Name of the base model for PEFT, such as OWNER/NAME of the hub; by default that of the model that was trained on",
    ),
  }),
  inputs: {
    adapter: { kind: "adapter" },
    report: { kind: "report", optional: true },
    ranks: { kind: "ranks", optional: true },
  },
  output: { kind: "peft", files: [...PEFT_FILES, "README.md"] },
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
  },
});

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

/** What a reader of an exported adapter wants to know. */
export interface CardContent {
  readonly baseModel: ModelOrigin | undefined;
  /** Whether the reader named the base model, which then is what `from_pretrained` takes. */
  readonly named: boolean;
  readonly task: string;
  /** Class names; null if the task is a regression. */
  readonly labels: readonly string[] | null;
}

/** The `README.md` of an adapter for PEFT: what it is, and the lines that load it. */
export function modelCard(
  { baseModel, named, task, labels }: CardContent,
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
      ? `Rank ${used[0]} on query and value`
      : `Ranks ${used.join(", ")} on query and value, by module,`
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

/** What `from_pretrained` takes: of a model on the hub its name, of another one the reader's own folder. */
function baseText(
  baseModel: ModelOrigin | undefined,
  named: boolean,
): string {
  if (baseModel === undefined) {
    return JSON.stringify("the model that it was trained on");
  }
  const { name, revision } = baseModel;
  if (!named && !/^[^/:]+\/[^/:]+$/.test(name)) {
    return JSON.stringify(`the folder of the model ${name}`);
  }
  const at = revision === null ? "" : `, revision=${JSON.stringify(revision)}`;
  return JSON.stringify(name) + at;
}
