import { z } from "zod";
import { ADAPTER_FILES, writeAdapter } from "../lib/artifacts/adapter.ts";
import {
  areDistinct,
  checkClasses,
  numberedLabels,
  outputsOf,
} from "../lib/artifacts/classes.ts";
import { readTokensInfo, type TokensInfo } from "../lib/artifacts/tokens.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";

const Params = z.strictObject({
  source: z.string().min(1).describe(
    "Folder with adapter_config.json and adapter_model.safetensors",
  ),
  method: z.enum(["lora", "dylora"]).default("lora").describe(
    "Method of its training: a lora serves its own rank, a dylora every rank b up to its own with scale alpha / b",
  ),
  task: z.string().min(1).optional().describe(
    "Name of the task; default: the task of the input tokens, which it must match",
  ),
  labels: z.array(z.string().min(1)).min(2).refine(
    areDistinct,
    "Expected distinct names",
  ).optional().describe(
    "Class names in the order of their ids; default: those of the input tokens, which they must match, otherwise LABEL_0, LABEL_1 and so on",
  ),
  seed: z.int().min(0).default(0).describe(
    "Seed under which its scores are reported",
  ),
});

type ImportParams = z.output<typeof Params>;

export default defineTask({
  description:
    "Import a LoRA adapter for sequence classification from a PEFT folder",
  params: Params,
  inputs: {
    model: { kind: "model" },
    tokens: { kind: "tokens", optional: true },
  },
  output: { kind: "adapter", files: ADAPTER_FILES },
  sources({ source }): Record<string, string> {
    return { source: expandHome(source) };
  },
  small: true,
  async run(stage) {
    const { readPeft, toAdapter } = await import(
      "../lib/artifacts/peft.ts"
    );
    const { readModelOrigin } = await import("../lib/artifacts/model.ts");
    const { source, method, seed } = stage.params;
    const peft = await readPeft(source);
    const { task, labels } = await taskOf(stage, peft.outputs);
    const model = stage.inputs.model![0]!.path;
    await writeAdapter(
      stage.output,
      toAdapter(peft, model, { method, task, labels, seed }),
    );
    // Names of paths and packages say nothing, and copies have other owners.
    const [theirs, ours] = [peft.baseModel, await readModelOrigin(model)].map(
      (it) => /^(?:[\w.-]+\/)?([\w.-]+)$/.exec(it?.name ?? "") ?? undefined,
    );
    if (theirs && ours && theirs[1] !== ours[1]) {
      stage.log(
        `"${source}" names "${
          theirs[0]
        }" as its base model, but the model is "${
          ours[0]
        }": make sure that their weights are the same`,
      );
    }
    stage.log(
      `LoRA of rank ${peft.rank} and alpha ${peft.alpha} for ${
        labels === null ? "a regression" : labels.join(", ")
      }`,
    );
  },
});

/** The task and its classes, from the parameters or the tokens. */
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
      `The head of "${params.source}" has one output, a regression: remove "labels"`,
    );
  }
  if (labels === undefined) {
    return { task, labels: numberedLabels(outputs) };
  }
  if (labels.length === outputs) return { task, labels: [...labels] };
  throw new SyntaxError(
    `The head of "${params.source}" has ${outputs} outputs, but "labels" names ${labels.length} classes: name one class per output`,
  );
}

/**
 * The task and its classes if tokens are connected.
 *
 * @throws {SyntaxError} If the head does not fit the tokens.
 * @throws {RangeError} If task or classes of the parameters differ from those of the tokens.
 */
function taskWithTokens(
  { source, task, labels }: ImportParams,
  info: TokensInfo,
  outputs: number,
): { task: string; labels: string[] | null } {
  const expected = outputsOf(info.labels);
  if (expected !== outputs) {
    throw new SyntaxError(
      `The head of "${source}" has ${outputs} outputs, but the tokens for "${info.task}" require ${expected}: connect tokens with the classes of the adapter`,
    );
  }
  if (task !== undefined && task !== info.task) {
    throw new RangeError(
      `"task" is "${task}", but the tokens are for "${info.task}": connect tokens for "${task}", or remove "task"`,
    );
  }
  if (labels === undefined) return { task: info.task, labels: info.labels };
  checkClasses({ task: info.task, labels }, info);
  return { task: info.task, labels: [...labels] };
}
