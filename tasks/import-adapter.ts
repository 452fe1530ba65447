import { z } from "zod";
import { ADAPTER_FILES, writeAdapter } from "../lib/artifacts/adapter.ts";
import {
  areDistinct,
  areSameClasses,
  checkClasses,
  CLASSES_FILE,
  isNumbered,
  numberedLabels,
  outputsOf,
  type TaskClasses,
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
    "Name of the task; default: the task of the input tokens, which it must match, otherwise that of an adapter that export-adapter wrote",
  ),
  labels: z.array(z.string().min(1)).min(2).refine(
    areDistinct,
    "Expected distinct names",
  ).optional().describe(
    "Class names in the order of their ids; default: those of the input tokens or of an adapter that export-adapter wrote, which they must match, otherwise LABEL_0, LABEL_1 and so on",
  ),
  seed: z.int().min(0).default(0).describe(
    "Seed under which its scores are reported",
  ),
});

type ImportParams = z.output<typeof Params>;

type Imported = Pick<
  Awaited<ReturnType<typeof import("../lib/artifacts/peft.ts").readPeft>>,
  "outputs" | "exported"
>;

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
    const { task, labels } = await taskOf(stage, peft);
    const model = stage.inputs.model![0]!.path;
    await writeAdapter(
      stage.output,
      toAdapter(peft, model, {
        method,
        task,
        labels: labels && [...labels],
        seed,
      }),
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

/**
 * The task and its classes, from the parameters, the tokens, or the record of
 * an export. Names of classes have precedence over their numbers.
 *
 * @throws {SyntaxError | RangeError} If these contradict each other, or do not fit the head.
 */
async function taskOf(
  { params, inputs }: Stage<ImportParams>,
  peft: Imported,
): Promise<TaskClasses> {
  const { source, labels } = params;
  const recorded = peft.exported?.labels;
  if (labels && recorded && !areSameClasses(labels, recorded)) {
    throw new RangeError(
      `"labels" names ${
        labels.join(", ")
      }, but "${CLASSES_FILE}" of "${source}" names ${
        recorded.join(", ")
      }: remove "labels", or correct the file`,
    );
  }
  const tokens = inputs.tokens?.[0];
  const found = tokens === undefined
    ? taskWithoutTokens(params, peft)
    : taskWithTokens(params, await readTokensInfo(tokens.path), peft);
  const named = [labels, found.labels, recorded].find((it) =>
    it && !isNumbered(it)
  );
  return { task: found.task, labels: named ?? found.labels };
}

/** Name of the task of an adapter if nothing says it. */
const UNKNOWN = "imported";

/**
 * The task if no tokens are connected, and its classes by their numbers.
 *
 * @throws {SyntaxError} If the classes of the parameters do not fit the head.
 * @throws {RangeError} If the task of the parameters differs from that of the export.
 */
function taskWithoutTokens(
  { source, task, labels }: ImportParams,
  { outputs, exported }: Imported,
): TaskClasses {
  if (labels !== undefined && outputs === 1) {
    throw new SyntaxError(
      `The head of "${source}" has one output, a regression: remove "labels"`,
    );
  }
  if (labels !== undefined && labels.length !== outputs) {
    throw new SyntaxError(
      `The head of "${source}" has ${outputs} outputs, but "labels" names ${labels.length} classes: name one class per output`,
    );
  }
  const { task: recorded = UNKNOWN } = exported ?? {};
  if (task !== undefined && ![task, UNKNOWN].includes(recorded)) {
    throw new RangeError(
      `"task" is "${task}", but "${CLASSES_FILE}" of "${source}" names "${recorded}": connect tokens for "${task}", or remove "task"`,
    );
  }
  return { task: task ?? recorded, labels: numberedLabels(outputs) };
}

/**
 * The task and its classes if tokens are connected.
 *
 * @throws {SyntaxError} If the head does not fit the tokens.
 * @throws {RangeError} If the task of the parameters differs from that of the tokens.
 * @throws {Error} If the classes of the parameters or of the export differ from those of the tokens.
 */
function taskWithTokens(
  { source, task, labels }: ImportParams,
  info: TokensInfo,
  { outputs, exported }: Imported,
): TaskClasses {
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
  if (exported !== undefined) checkClasses(exported, info);
  if (labels !== undefined) checkClasses({ task: info.task, labels }, info);
  return info;
}
