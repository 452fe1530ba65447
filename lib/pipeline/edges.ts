import type { Definition } from "./definitions.ts";
import type { FaultList, Span } from "./fault.ts";
import {
  checkDimensions,
  type InputReference,
  parseInputReference,
} from "./inputs.ts";
import { didYouMean } from "./suggest.ts";
import type { InputDeclaration, Task } from "./task.ts";
import type { LoadedTask } from "./task_folder.ts";
import { keySpanAt, spanAt, type Tree } from "./tree.ts";

/** An input of a stage: what it takes, and the references that it is given. */
export interface Edge {
  readonly input: string;
  readonly declaration: InputDeclaration;
  readonly references: readonly InputReference[];
  readonly span: Span;
}

/** What edges are checked against. */
export interface EdgeContext {
  readonly tree: Tree;
  /** Every stage that the file names, sound or not. */
  readonly names: ReadonlySet<string>;
  /** Tasks of the stages, as far as they are known. */
  readonly tasks: ReadonlyMap<string, LoadedTask>;
  /** Dimensions of the stages, as far as they are known. */
  readonly dimensions: ReadonlyMap<string, readonly string[]>;
  readonly faults: FaultList;
}

/**
 * Checks how a stage is connected: every input that its task declares, and no
 * other, by artifacts of the right kind.
 *
 * @returns The sound edges; what is wrong with the others is reported.
 */
export function readEdges(
  { name, written, damaged }: Definition,
  task: Task,
  context: EdgeContext,
): Edge[] {
  const { tree, faults } = context;
  const edges: Edge[] = [];
  const path = ["stages", name, "inputs"];
  for (const [input, given] of Object.entries(written.inputs)) {
    const declaration = Object.hasOwn(task.inputs, input)
      ? task.inputs[input]
      : undefined;
    const span = keySpanAt(tree, [...path, input]);
    if (declaration === undefined) {
      const known = Object.keys(task.inputs);
      const hint = didYouMean(input, known) ||
        (known.length === 0
          ? "; it takes none"
          : `; it takes ${known.map((it) => `"${it}"`).join(", ")}`);
      faults.add(`Task "${written.task}" has no input "${input}"${hint}`, span);
      continue;
    }
    const texts = Array.isArray(given) ? given : [given];
    const references = texts.map(parseInputReference);
    let sound = true;
    if (texts.length > 1 && !declaration.many) {
      sound = false;
      faults.add(
        `Input "${input}" of task "${written.task}" takes one artifact`,
        span,
      );
    }
    for (const [index, reference] of references.entries()) {
      const at = Array.isArray(given)
        ? [...path, input, index]
        : [...path, input];
      const problems = checkReference(name, reference, declaration, context);
      for (const problem of problems) faults.add(problem, spanAt(tree, at));
      sound &&= problems.length === 0;
    }
    if (sound) edges.push({ input, declaration, references, span });
  }
  if (!damaged.has("inputs")) {
    const missing = Object.entries(task.inputs).filter(([input, it]) =>
      !it.optional && !Object.hasOwn(written.inputs, input)
    );
    for (const [input, { kind, many }] of missing) {
      faults.add(
        `Stage "${name}" lacks input "${input}" of task "${written.task}": ${
          many ? "artifacts" : "an artifact"
        } of kind "${kind}"`,
        keySpanAt(tree, path),
      );
    }
  }
  return edges;
}

/** What is wrong with a reference of the stage `name`. */
function checkReference(
  name: string,
  reference: InputReference,
  { kind, many = false }: InputDeclaration,
  { names, tasks, dimensions }: EdgeContext,
): string[] {
  const { stage } = reference;
  if (!names.has(stage)) {
    return [`Unknown stage "${stage}"${didYouMean(stage, names)}`];
  }
  const problems: string[] = [];
  const theirKind = tasks.get(stage)?.task.output.kind;
  if (theirKind !== undefined && theirKind !== kind) {
    problems.push(
      `Stage "${stage}" makes an artifact of kind "${theirKind}", but this input takes "${kind}"`,
    );
  }
  const own = dimensions.get(name);
  const theirs = dimensions.get(stage);
  const problem = own && theirs &&
    checkDimensions(reference, many, own, theirs);
  if (problem !== undefined) problems.push(problem);
  return problems;
}
