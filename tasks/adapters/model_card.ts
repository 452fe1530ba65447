import type { ModelOrigin } from "../artifacts/model.ts";
import type { ModuleRanks } from "../artifacts/module_ranks.ts";

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
