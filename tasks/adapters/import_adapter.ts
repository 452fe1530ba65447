import { join } from "node:path";
import { parseEncoderConfig } from "../../lib/engine/config.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { type Adapter, writeAdapter } from "../artifacts/adapter.ts";
import { checkClasses } from "../artifacts/classes.ts";
import { modulesOf } from "../artifacts/module_ranks.ts";
import type { AdapterTensors } from "../artifacts/peft_files.ts";
import { readTokensInfo, type TokensInfo } from "../artifacts/tokens.ts";
import { type PeftAdapter, readPeft } from "./read_peft.ts";

/** Parameters of an import. */
export interface ImportSettings {
  readonly source: string;
  readonly method: "lora" | "dylora";
  readonly task?: string | undefined;
  readonly labels?: readonly string[] | undefined;
  readonly seed: number;
}

/** What is known of an adapter besides its files. */
export interface Provenance {
  readonly method: "lora" | "dylora";
  readonly task: string;
  /** Class names in the order of their numbers; null if the task is a regression. */
  readonly labels: string[] | null;
  readonly seed: number;
}

/** Takes a PEFT adapter over as a stage's artifact. */
export async function importAdapter(
  stage: Stage<ImportSettings>,
): Promise<void> {
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
}

/**
 * A PEFT adapter on a model folder as an adapter here.
 *
 * @throws {SyntaxError} If it does not fit the model.
 */
export function takeOver(
  { baseModel, rank, alpha, tensors }: PeftAdapter,
  model: string,
  { method, ...known }: Provenance,
): Adapter {
  return {
    baseModel,
    training: {
      ...known,
      method: `imported-${method}`,
      rank,
      alpha,
      scaling: method === "dylora" ? "rank" : "maximum",
      selection: null,
    },
    tensors: withPooler(tensors, model),
  };
}

/** Names that transformers gives to classes without names; null for one output, a regression. */
export function numberedLabels(outputs: number): string[] | null {
  return outputs === 1
    ? null
    : Array.from({ length: outputs }, (_, i) => `LABEL_${i}`);
}

/** The task and its classes: as the parameters say, else those of the tokens. */
async function taskOf(
  { params, inputs }: Stage<ImportSettings>,
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
  { source, task, labels }: ImportSettings,
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

/**
 * The tensors, with the model's own pooler where BERT's was not trained: the
 * head that is trained here begins with it.
 *
 * @throws {SyntaxError} If the adapter does not fit the model.
 */
function withPooler(tensors: AdapterTensors, model: string): AdapterTensors {
  const { architecture, layers, hidden } = parseEncoderConfig(
    Deno.readTextFileSync(join(model, "config.json")),
  );
  const names = Object.keys(tensors);
  const first = names.find((name) => name.endsWith(".lora_A.weight"))!;
  const found = {
    architecture: first.split(".")[2]!,
    layers: modulesOf(names).length / 2,
    hidden: tensors[first]!.shape[1]!,
  };
  for (
    const [what, expected] of Object.entries({ architecture, layers, hidden })
  ) {
    const own = found[what as keyof typeof found];
    if (own !== expected) {
      throw new SyntaxError(
        `The adapter does not fit the model: it has ${what} ${own}, and the model ${expected}`,
      );
    }
  }
  if (
    architecture !== "bert" || names.some((name) => name.includes(".pooler."))
  ) {
    return tensors;
  }
  using file = SafetensorsFile.open(join(model, "model.safetensors"));
  const prefix = file.tensors.has("pooler.dense.weight") ? "" : "bert.";
  return {
    ...tensors,
    ...Object.fromEntries(["weight", "bias"].map((part) => {
      const stored = `${prefix}pooler.dense.${part}`;
      const values = file.floats(stored);
      const { shape } = file.tensors.get(stored)!;
      return [`base_model.model.bert.pooler.dense.${part}`, { shape, values }];
    })),
  };
}
