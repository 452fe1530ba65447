import { writeAdapter } from "../peft/adapter.ts";
import { CLASSES_FILE, taskFields } from "../artifacts/classes.ts";
import { findModelOrigin } from "../artifacts/model.ts";
import { type PeftAdapter, readPeft, toAdapter } from "../peft/import.ts";
import { readTokensInfo } from "../artifacts/tokens.ts";
import type { HeadName } from "../engine/models/model.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";
import { areNumbered } from "../problems/classification.ts";
import {
  areSameLabels,
  checkSameLabels,
  problemOf,
  problemOfOutputs,
  type TaskProblem,
} from "../problems/registry.ts";

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
  const model = stage.inputs.model.path;
  const peft = await readPeft(source, model);
  const task = await taskOf(stage, peft);
  await writeAdapter(
    stage.output,
    toAdapter(peft, { method, ...taskFields(task), seed }),
  );
  // Names of paths and packages say nothing, and copies have other owners.
  const nameParts = (name: string | undefined) =>
    /^(?:[\w.-]+\/)?([\w.-]+)$/.exec(name ?? "");
  const named = nameParts(peft.baseModel?.name);
  const used = nameParts((await findModelOrigin(model))?.name);
  if (named !== null && used !== null && named[1] !== used[1]) {
    stage.log(
      `"${source}" names "${named[0]}" as its base model, but the model is "${
        used[0]
      }": make sure that their weights are the same`,
    );
  }
  const { kind, rank, alpha } = peft;
  const what = problemOf(task).inWords(task.task);
  stage.log(`${kind.title} of rank ${rank} and alpha ${alpha} for ${what}`);
}

/** Name of the task of an adapter if nothing says it. */
const UNKNOWN = "imported";

/**
 * The task and its classes, from the parameters, the tokens, or the record of
 * an export. Names of classes have precedence over their numbers.
 *
 * @throws {SyntaxError} If the classes do not fit the head.
 * @throws {RangeError | Error} If parameters, tokens and record contradict each
 * other.
 */
async function taskOf(
  { params: { source, task, labels }, inputs: { tokens } }: ImportingStage,
  { head, outputs, exported }: PeftAdapter,
): Promise<TaskProblem> {
  const info = tokens && await readTokensInfo(tokens.path);
  const file = `"${CLASSES_FILE}" of "${source}"`;
  const unnamed = unnamedProblem(head, outputs, info);
  const labelled = labels && { ...unnamed, labels };
  if (labelled && exported && !areSameLabels(labelled, exported)) {
    const names = labelled.labels.join(", ");
    const what = problemOf(exported).inWords(exported.task);
    throw new RangeError(
      `"labels" names ${names}, but ${file} is for ${what}: remove "labels", or correct the file`,
    );
  }
  const { outputs: expected } = problemOf(info ?? labelled ?? unnamed);
  if (expected !== outputs) {
    const other = info
      ? `the tokens for "${info.task}" require ${expected}: connect tokens with the classes of the adapter`
      : problemOf(unnamed).classes.length === 0
      ? `"labels" names ${expected} classes: remove "labels", since it is a regression`
      : `"labels" names ${expected} classes: name one class per output`;
    throw new SyntaxError(
      `The head of "${source}" has ${outputs} outputs, but ${other}`,
    );
  }
  const recordedTask = info?.task ?? exported?.task ?? UNKNOWN;
  if (task !== undefined && ![task, UNKNOWN].includes(recordedTask)) {
    const names = info ? "the tokens are for" : `${file} names`;
    throw new RangeError(
      `"task" is "${task}", but ${names} "${recordedTask}": connect tokens for "${task}", or remove "task"`,
    );
  }
  if (info) {
    const numbered = { task: info.task, imported: true, ...unnamed };
    checkSameLabels(exported ?? numbered, info);
    if (labelled) checkSameLabels({ ...numbered, ...labelled }, info);
  }
  const named = [labelled, info, exported]
    .find((it) => it && !areNumbered(problemOf(it).classes));
  return {
    ...named ?? info ?? exported ?? unnamed,
    words: (info ?? exported)?.words,
    task: info?.task ?? task ?? recordedTask,
  };
}

/**
 * The problem of a head of which nothing else is known: that of the tokens, if
 * they have one for such a head.
 */
function unnamedProblem(
  head: HeadName,
  outputs: number,
  tokens: TaskProblem | undefined,
): { readonly problem: string; readonly labels: string[] | null } {
  const unnamed = problemOfOutputs(outputs, head);
  const solved = tokens && problemOf(tokens);
  const isSame = solved?.head === head && solved.outputs === outputs &&
    (solved.classes.length > 0) === (unnamed.labels !== null);
  return isSame ? { ...unnamed, problem: solved.name } : unnamed;
}
