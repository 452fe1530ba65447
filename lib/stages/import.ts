import { writeAdapter } from "../artifacts/adapter.ts";
import {
  areSameClasses,
  checkClasses,
  CLASSES_FILE,
  isNumbered,
  numberedLabels,
  outputsOf,
  type TaskClasses,
} from "../artifacts/classes.ts";
import { findModelOrigin } from "../artifacts/model.ts";
import { type PeftAdapter, readPeft, toAdapter } from "../artifacts/peft.ts";
import { readTokensInfo, type TokensInfo } from "../artifacts/tokens.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";

/** A stage that imports an adapter. */
type ImportingStage = Stage<
  {
    readonly source: string;
    readonly method: "lora" | "dylora";
    readonly task?: string | undefined;
    readonly labels?: readonly string[] | undefined;
    readonly seed: number;
  },
  { readonly model: InputArtifact; readonly tokens: InputArtifact | undefined }
>;

/** Writes a LoRA in a PEFT folder as an artifact of kind `adapter`. */
export async function importAdapter(stage: ImportingStage): Promise<void> {
  const { source, method, seed } = stage.params;
  const peft = await readPeft(source);
  const { task, labels } = await taskOf(stage, peft);
  const model = stage.inputs.model.path;
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
  const [theirs, ours] = [peft.baseModel, await findModelOrigin(model)].map(
    (it) => /^(?:[\w.-]+\/)?([\w.-]+)$/.exec(it?.name ?? "") ?? undefined,
  );
  if (theirs && ours && theirs[1] !== ours[1]) {
    stage.log(
      `"${source}" names "${theirs[0]}" as its base model, but the model is "${
        ours[0]
      }": make sure that their weights are the same`,
    );
  }
  stage.log(
    `LoRA of rank ${peft.rank} and alpha ${peft.alpha} for ${
      labels === null ? "a regression" : labels.join(", ")
    }`,
  );
}

/**
 * The task and its classes, from the parameters, the tokens, or the record of
 * an export. Names of classes have precedence over their numbers.
 *
 * @throws {SyntaxError | RangeError} If these contradict each other, or do not fit the head.
 */
async function taskOf(
  { params, inputs }: ImportingStage,
  peft: PeftAdapter,
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
  const { tokens } = inputs;
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
  { source, task, labels }: ImportingStage["params"],
  { outputs, exported }: PeftAdapter,
): TaskClasses {
  if (labels !== undefined && labels.length !== outputs) {
    throw new SyntaxError(
      `The head of "${source}" has ${outputs} outputs, but "labels" names ${labels.length} classes: ${
        outputs === 1
          ? 'remove "labels", since it is a regression'
          : "name one class per output"
      }`,
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
  { source, task, labels }: ImportingStage["params"],
  info: TokensInfo,
  { outputs, exported }: PeftAdapter,
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
