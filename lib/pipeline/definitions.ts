import type { z } from "zod";
import type { FaultList } from "./fault.ts";
import { reportIssues } from "./issues.ts";
import { PipelineHead, StageDefinition } from "./schema.ts";
import { isMapping, type Mapping, type Tree } from "./tree.ts";

/** A stage as it is written, with whatever is wrong with it left out. */
export interface Definition {
  readonly name: string;
  readonly written: StageDefinition;
  /** Keys that were left out, because their values were wrong. */
  readonly damaged: ReadonlySet<string>;
}

/** What a file says, as far as it is sound. */
export interface Definitions {
  /** Absent if the head of the file is wrong. */
  readonly head?: PipelineHead;
  /** False if the parameters or profiles are wrong, so that nothing can be expanded. */
  readonly paramsSound: boolean;
  readonly stages: ReadonlyMap<string, Definition>;
  /** Every stage that the file names, sound or not. */
  readonly names: ReadonlySet<string>;
}

/**
 * Checks a file against its schema.
 *
 * A wrong value does not hide what is wrong elsewhere: it is reported, left
 * out, and the rest of its stage is kept for the checks that follow.
 */
export function readDefinitions(tree: Tree, faults: FaultList): Definitions {
  const head = PipelineHead.safeParse(tree.value);
  if (!head.success) {
    reportIssues(head.error.issues, faults, {
      tree,
      at: [],
      schema: PipelineHead,
      value: tree.value,
      owner: "the pipeline",
    });
  }
  const written = isMapping(tree.value) ? tree.value.stages : undefined;
  const entries = isMapping(written) ? Object.entries(written) : [];
  if (isMapping(written) && entries.length === 0) {
    faults.add("The pipeline has no stages", tree.keys!.get("stages"));
  }
  const stages = new Map<string, Definition>();
  for (const [name, value] of entries) {
    const definition = readStage(name, value, tree, faults);
    if (definition) stages.set(name, definition);
  }
  return {
    ...(head.success ? { head: head.data } : {}),
    paramsSound: isMapping(tree.value) &&
      !head.error?.issues.some((issue) =>
        wrongKeys(issue).some((key) => key === "params" || key === "profiles")
      ),
    stages,
    names: new Set(entries.map(([name]) => name)),
  };
}

function readStage(
  name: string,
  value: unknown,
  tree: Tree,
  faults: FaultList,
): Definition | undefined {
  const result = StageDefinition.safeParse(value);
  if (result.success) {
    return { name, written: result.data, damaged: new Set() };
  }
  reportIssues(result.error.issues, faults, {
    tree,
    at: ["stages", name],
    schema: StageDefinition,
    value,
    owner: `stage "${name}"`,
  });
  if (!isMapping(value)) return undefined;
  const sound: Mapping = { ...value };
  const damaged = new Set<string>();
  for (const issue of result.error.issues) {
    for (const key of wrongKeys(issue)) {
      delete sound[key];
      if (key in StageDefinition.shape) damaged.add(key);
    }
  }
  const rest = StageDefinition.safeParse(sound);
  return rest.success ? { name, written: rest.data, damaged } : undefined;
}

function wrongKeys(issue: z.core.$ZodIssue): readonly string[] {
  const key = issue.path[0];
  if (key !== undefined) return [String(key)];
  return issue.code === "unrecognized_keys" ? issue.keys : [];
}
