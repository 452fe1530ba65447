import { z } from "zod";
import { ADAPTER_FILES, writeAdapter } from "../lib/artifacts/adapter.ts";
import {
  areDistinct,
  checkClasses,
  numberedLabels,
} from "../lib/artifacts/classes.ts";
import { readTokensInfo, type TokensInfo } from "../lib/artifacts/tokens.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";

const Params = z.strictObject({
  source: z.string().min(1).describe(
    "Folder with adapter_config.json and adapter_model.safetensors",
  ),
  method: z.enum(["lora", "dylora"]).default("lora").describe(
    "What it was trained as: lora serves its own rank; dylora every rank b up to it, with scale alpha / b",
  ),
  task: z.string().min(1).optional().describe(
    "Name of the task that it is for; by default that of the tokens, which it must be if they are connected",
  ),
  labels: z.array(z.string().min(1)).min(2).refine(
    areDistinct,
    "Expected distinct names",
  ).optional().describe(
    "Class names in the order of their numbers, which must be that of the tokens if they are connected; by default those of the tokens, else LABEL_0, LABEL_1 and so on",
  ),
  seed: z.int().min(0).default(0).describe("Seed that its scores go by"),
});

type ImportParams = z.output<typeof Params>;

export default defineTask({
  description: "Take over a LoRA adapter for classification that PEFT wrote",
  params: Params,
  inputs: {
    model: { kind: "model" },
    tokens: { kind: "tokens", optional: true },
  },
  output: { kind: "adapter", files: ADAPTER_FILES },
  sources({ source }): Record<string, string> {
    return { source: expandHome(source) };
  },
  async run(stage) {
    const { readPeft, takeOver } = await import(
      "../lib/artifacts/peft.ts"
    );
    const { source, method, seed } = stage.params;
    const peft = await readPeft(source);
    const { task, labels } = await taskOf(stage, peft.outputs);
    const model = stage.inputs.model![0]!.path;
    await writeAdapter(
      stage.output,
      takeOver(peft, model, { method, task, labels, seed }),
    );
    stage.log(
      `LoRA of rank ${peft.rank} and alpha ${peft.alpha} for ${
        labels === null ? "a regression" : labels.join(", ")
      }`,
    );
  },
});

/** The task and its classes: as the parameters say, else those of the tokens. */
async function taskOf(
  { params, inputs }: Stage<ImportParams>,
  outputs: number,
): Promise<{ task: string; labels: string[] | null }> {
  const tokens = inputs.tokens?.[0];
  if (tokens !== undefined) {
    return taskWithTokens(params, await readTokensInfo(tokens.path), outputs);
  }
  const { task = "imported", labels } = params;
  if (outputs === 1) {
    if (labels === undefined) return { task, labels: null };
    throw new SyntaxError(
      `The head of "${params.source}" has one output, so it is a regression: leave "labels" out`,
    );
  }
  if (labels === undefined) {
    return { task, labels: numberedLabels(outputs) };
  }
  if (labels.length === outputs) return { task, labels: [...labels] };
  throw new SyntaxError(
    `The head of "${params.source}" has ${outputs} outputs, but "labels" names ${labels.length} classes`,
  );
}

/**
 * The task and its classes where tokens are connected.
 *
 * @throws {SyntaxError} If the head is not one for the tokens.
 * @throws {TypeError} If the parameters say another task, or other classes, than the tokens.
 */
function taskWithTokens(
  { source, task, labels }: ImportParams,
  info: TokensInfo,
  outputs: number,
): { task: string; labels: string[] | null } {
  const expected = info.labels?.length ?? 1;
  if (expected !== outputs) {
    throw new SyntaxError(
      `The head of "${source}" has ${outputs} outputs, but "${info.task}" needs ${expected}`,
    );
  }
  if (task !== undefined && task !== info.task) {
    throw new TypeError(
      `"task" is "${task}", but the tokens are of "${info.task}": connect tokens of "${task}", or leave "task" out`,
    );
  }
  if (labels === undefined) return { task: info.task, labels: info.labels };
  checkClasses({ task: info.task, labels }, info);
  return { task: info.task, labels: [...labels] };
}
