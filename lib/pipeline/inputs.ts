/**
 * Inputs of stages: the references that the file gives, the coordinates that a
 * stage has from them, and the stages that they connect.
 */
import type { Definition } from "./check.ts";
import { didYouMean } from "./did_you_mean.ts";
import type { FaultList } from "./faults.ts";
import type { LoadedTask } from "./load_task.ts";
import { type Combination, dimensionsOf, type MatrixValues } from "./matrix.ts";
import type { InputDeclaration, Task } from "./task.ts";

/** One of the stages of a family. */
export interface StageInstance extends Combination {
  readonly id: string;
}

/** The stages of one name. */
export class StageFamily {
  readonly #indices = new Map<string, Map<string, StageInstance[]>>();

  constructor(
    readonly dimensions: readonly string[],
    /** In the order of their matrix; none if all are excluded. */
    readonly stages: readonly StageInstance[],
  ) {}

  /** The stages that have the values of `coordinates` in some dimensions. */
  at(
    coordinates: MatrixValues,
    dimensions: readonly string[],
  ): readonly StageInstance[] {
    const index = this.#indices.getOrInsertComputed(
      dimensions.join(),
      () =>
        Map.groupBy(this.stages, (it) => valuesOf(it.coordinates, dimensions)),
    );
    return index.get(valuesOf(coordinates, dimensions)) ?? [];
  }
}

function valuesOf(
  coordinates: MatrixValues,
  dimensions: readonly string[],
): string {
  return JSON.stringify(dimensions.map((it) => coordinates[it] ?? null));
}

/** Families of stages by name, without those that a fault makes unknown. */
type Families = ReadonlyMap<string, StageFamily>;

/** An input of a stage and the references that the file gives for it. */
export interface Edge {
  readonly input: string;
  readonly declaration: InputDeclaration;
  readonly references: readonly InputReference[];
  /** Path of the input in the file. */
  readonly path: readonly string[];
}

/** The stages that inputs can refer to. */
interface EdgeContext {
  /** Names of all stages of the file, valid or not. */
  readonly names: ReadonlySet<string>;
  /** Tasks of the stages, as far as they are known. */
  readonly tasks: ReadonlyMap<string, LoadedTask>;
  readonly families: Families;
  readonly faults: FaultList;
}

/**
 * Checks the inputs of a stage: they must be those that its task declares, and
 * name stages whose artifacts have the right kind.
 *
 * @param task Undefined if it is unknown
 * @returns The edges, required inputs first, then in the order of the task's
 * declaration; undefined if there are faults, or unknown families.
 */
export function readEdges(
  { name, written, damaged }: Definition,
  task: Task | undefined,
  context: EdgeContext,
): Edge[] | undefined {
  const { families, faults } = context;
  const edges: Edge[] = [];
  const before = faults.size;
  let isKnown = task !== undefined && !damaged.has("inputs");
  const path = ["stages", name, "inputs"];
  for (const [input, value] of Object.entries(written.inputs)) {
    const declaration = task && Object.hasOwn(task.inputs, input)
      ? task.inputs[input]
      : undefined;
    const at = [...path, input];
    if (task !== undefined && declaration === undefined) {
      const names = Object.keys(task.inputs);
      const hint = didYouMean(input, names, "its inputs are") ||
        "; it has no inputs";
      faults.addAtKey(
        at,
        `Task "${written.task}" has no input "${input}"${hint}`,
      );
    }
    const texts = [value].flat();
    const references = texts.map(parseInputReference);
    if (texts.length > 1 && declaration && !declaration.many) {
      faults.addAtKey(
        at,
        `Input "${input}" of task "${written.task}" takes one artifact, got ${texts.length}`,
      );
    }
    for (const [index, reference] of references.entries()) {
      for (const problem of checkReference(reference, declaration, context)) {
        faults.addAt(Array.isArray(value) ? [...at, index] : at, problem);
      }
      isKnown &&= families.has(reference.stage);
    }
    if (declaration) edges.push({ input, declaration, references, path: at });
  }
  if (task !== undefined && !damaged.has("inputs")) {
    const missing = Object.entries(task.inputs).filter(([input, it]) =>
      !it.optional && !Object.hasOwn(written.inputs, input)
    );
    for (const [input, { kind, many }] of missing) {
      faults.addAtKey(
        path,
        `Stage "${name}" needs input "${input}" of task "${written.task}": ${
          many ? "artifacts" : "an artifact"
        } of kind "${kind}"`,
      );
    }
  }
  const declared = Object.keys(task?.inputs ?? {});
  const position = ({ input, declaration }: Edge) =>
    declared.indexOf(input) + (canBeAbsent(declaration) ? declared.length : 0);
  if (!isKnown || faults.size > before) return undefined;
  return edges.sort((a, b) => position(a) - position(b));
}

/** Whether a stage exists even where an input refers to no stage. */
function canBeAbsent({ optional, many }: InputDeclaration): boolean {
  return optional === true || many === true;
}

/** Faults of a reference. */
function checkReference(
  reference: InputReference,
  declaration: InputDeclaration | undefined,
  { names, tasks, families }: EdgeContext,
): string[] {
  const { stage } = reference;
  if (!names.has(stage)) {
    return [`Unknown stage "${stage}"${didYouMean(stage, names)}`];
  }
  if (declaration === undefined) return [];
  const { kind, many = false } = declaration;
  const problems: string[] = [];
  const theirKind = tasks.get(stage)?.task.output.kind;
  if (theirKind !== undefined && theirKind !== kind) {
    problems.push(
      `Stage "${stage}" produces an artifact of kind "${theirKind}", but this input takes kind "${kind}"`,
    );
  }
  const theirs = families.get(stage)?.dimensions;
  const problem = theirs && checkDimensions(reference, many, theirs);
  if (problem !== undefined) problems.push(problem);
  return problems;
}

/** A reference to a stage: `train-lora[glue, *]`. */
interface InputReference {
  readonly text: string;
  /** Name of the stage. */
  readonly stage: string;
  /**
   * Dimensions in brackets whose values must equal those of the stage with the
   * input, without `*`, which stands for none; undefined without brackets: all.
   */
  readonly named: readonly string[] | undefined;
}

/** Parses a reference, whose form the schema has checked. */
function parseInputReference(text: string): InputReference {
  const [stage = "", inner] = text.split(/[[\]]/);
  const names = inner?.split(",").map((it) => it.trim());
  return {
    text,
    stage,
    named: names?.filter((it) => it !== "*"),
  };
}

/**
 * The fault of a reference with regard to the dimensions of its stage;
 * undefined if there is none.
 */
function checkDimensions(
  { text, stage, named }: InputReference,
  many: boolean,
  theirs: readonly string[],
): string | undefined {
  if (named === undefined) return undefined;
  if (new Set(named).size < named.length) {
    return `The reference to "${stage}" names a dimension twice`;
  }
  const unknown = named.find((it) => !theirs.includes(it));
  if (unknown !== undefined) {
    return `Stage "${stage}" has no dimension "${unknown}"` +
      didYouMean(unknown, theirs);
  }
  const open = theirs.filter((it) => !named.includes(it));
  return open.length > 0 && !many
    ? `"${text}" names no value of ${
      quoted(open)
    }, but this input takes one artifact; write "${stage}"`
    : undefined;
}

/** Names of the dimensions that a stage has from its inputs. */
export function inheritedDimensions(
  edges: readonly Edge[],
  families: Families,
): string[] {
  return edges.flatMap(({ references }) => references).flatMap((
    { stage, named },
  ) => named ?? families.get(stage)!.dimensions);
}

/**
 * The coordinates that a stage has from its inputs: the combinations of those
 * of the stages that they refer to that agree in the dimensions that they
 * share.
 *
 * If a required input refers to a family without stages, there are none. An
 * input that is optional, or takes any number of artifacts, removes none.
 *
 * @param matrixDimensions Dimensions of the stage's matrix, which are not
 * inherited.
 */
export function inheritedCoordinates(
  edges: readonly Edge[],
  families: Families,
  matrixDimensions: readonly string[],
): readonly MatrixValues[] {
  let inherited: readonly MatrixValues[] = [{}];
  for (const { declaration, references } of edges) {
    const outer = canBeAbsent(declaration);
    for (const { stage, named } of references) {
      const family = families.get(stage)!;
      if (family.stages.length === 0 && !outer) return [];
      const theirs = (named ?? family.dimensions)
        .filter((it) => !matrixDimensions.includes(it));
      const shared = dimensionsOf(inherited)
        .filter((it) => theirs.includes(it));
      const joined: MatrixValues[] = [];
      for (const coordinates of inherited) {
        const matches = family.at(coordinates, shared);
        const distinct = new Map(
          matches.map((it) => [
            valuesOf(it.coordinates, theirs),
            it.coordinates,
          ]),
        );
        for (const it of distinct.values()) {
          const added = Object.entries(it).filter(([key]) =>
            theirs.includes(key)
          );
          joined.push({ ...coordinates, ...Object.fromEntries(added) });
        }
        if (matches.length === 0 && outer) joined.push(coordinates);
      }
      // If nothing agrees, connect() says so.
      if (joined.length > 0) inherited = joined;
    }
  }
  return inherited;
}

/**
 * Ids of the stages connected to each input of a stage. An input that selects
 * no stage is left out, as if the file did not give it: a stage
 * whose `start` is excluded equals one without `start`.
 */
export function connect(
  stage: StageInstance,
  edges: readonly Edge[],
  families: Families,
  faults: FaultList,
): Readonly<Record<string, readonly string[]>> {
  const connections: Record<string, readonly string[]> = {};
  for (const { input, declaration, references, path } of edges) {
    const ids = new Set<string>();
    const absent: string[] = [];
    for (const { stage: name, named } of references) {
      const family = families.get(name)!;
      const matches = family.at(stage.coordinates, named ?? family.dimensions);
      if (family.stages.length === 0) absent.push(name);
      else if (matches.length === 0 && !declaration.optional) {
        faults.addAtKey(path, `No stage "${name}" matches "${stage.id}"`);
      }
      if (matches.length > 1 && !declaration.many) {
        const [first, second] = matches;
        faults.addAtKey(
          path,
          `Input "${input}" takes one artifact, but "${stage.id}" matches "${
            first!.id
          }", "${second!.id}"${matches.length > 2 ? " and more" : ""}`,
        );
      }
      for (const { id } of matches) ids.add(id);
    }
    if (absent.length === references.length && !declaration.optional) {
      faults.addAtKey(
        path,
        `Input "${input}" of "${stage.id}" has no artifact: ${
          quoted(absent)
        } has no stages, by "if" or an empty matrix`,
      );
    }
    if (ids.size > 0) connections[input] = [...ids];
  }
  return connections;
}

function quoted(names: readonly string[]): string {
  return names.map((it) => `"${it}"`).join(", ");
}
