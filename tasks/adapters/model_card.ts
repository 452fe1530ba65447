import type { ModelOrigin } from "../artifacts/model.ts";
import type { ModuleRanks } from "../artifacts/module_ranks.ts";

/** What a reader of an exported adapter wants to know. */
export interface CardContent {
  readonly baseModel: ModelOrigin | undefined;
  readonly task: string;
  /** Class names; null if the task is a regression. */
  readonly labels: readonly string[] | null;
}

/** The `README.md` of an adapter for PEFT: what it is, and the lines that load it. */
export function modelCard(
  { baseModel, task, labels }: CardContent,
  ranks: ModuleRanks,
): string {
  const used = [...new Set(ranks.values())].sort((a, b) => a - b);
  const head = labels === null
    ? 'num_labels=1, problem_type="regression"'
    : `num_labels=${labels.length}, id2label=dict(enumerate(${
      JSON.stringify(labels)
    }))`;
  const revision = baseModel?.revision
    ? `, revision=${JSON.stringify(baseModel.revision)}`
    : "";
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
    ${
    JSON.stringify(baseModel?.name ?? "the model that it was trained on")
  }${revision}, ${head})
model = PeftModel.from_pretrained(base, "the folder of this file")
\`\`\`
`;
}
