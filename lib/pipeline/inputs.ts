/** Inputs of stages: the references that the file gives, and the stages that they connect. */
import type { Definition } from "./check.ts";
import { didYouMean } from "./did_you_mean.ts";
import type { FaultList } from "./faults.ts";
import type { LoadedTask } from "./load_task.ts";
import type { Placed } from "./matrix.ts";
import type { InputDeclaration, Task } from "./task.ts";

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
  /** Dimensions of the stages, as far as they are known. */
  readonly dimensions: ReadonlyMap<string, readonly string[]>;
  readonly faults: FaultList;
}

/**
 * Checks the inputs of a stage: they must be those that its task declares, and
 * name stages whose artifacts have the right kind.
 *
 * @param task Undefined if it is unknown
 * @returns The valid edges; faults of the others are reported.
 */
export function readEdges(
  { name, written, damaged }: Definition,
  task: Task | undefined,
  context: EdgeContext,
): Edge[] {
  const { faults } = context;
  const edges: Edge[] = [];
  const path = ["stages", name, "inputs"];
  for (const [input, given] of Object.entries(written.inputs)) {
    const declaration = task && Object.hasOwn(task.inputs, input)
      ? task.inputs[input]
      : undefined;
    const at = [...path, input];
    if (task !== undefined && declaration === undefined) {
      const known = Object.keys(task.inputs);
      const hint = didYouMean(input, known) ||
        (known.length === 0
          ? "; it has no inputs"
          : `; its inputs are ${quoted(known)}`);
      faults.addAtKey(
        at,
        `Task "${written.task}" has no input "${input}"${hint}`,
      );
    }
    const texts = Array.isArray(given) ? given : [given];
    const references = texts.map(parseInputReference);
    let sound = true;
    if (texts.length > 1 && declaration && !declaration.many) {
      sound = false;
      faults.addAtKey(
        at,
        `Input "${input}" of task "${written.task}" takes one artifact, got ${texts.length}`,
      );
    }
    for (const [index, reference] of references.entries()) {
      const problems = checkReference(name, reference, declaration, context);
      for (const problem of problems) {
        faults.addAt(Array.isArray(given) ? [...at, index] : at, problem);
      }
      sound &&= problems.length === 0;
    }
    if (sound && declaration) {
      edges.push({ input, declaration, references, path: at });
    }
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
  return edges;
}

/** Faults of a reference in the inputs of the stage `name`. */
function checkReference(
  name: string,
  reference: InputReference,
  declaration: InputDeclaration | undefined,
  { names, tasks, dimensions }: EdgeContext,
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
  const own = dimensions.get(name);
  const theirs = dimensions.get(stage);
  const problem = own && theirs &&
    checkDimensions(reference, many, own, theirs);
  if (problem !== undefined) problems.push(problem);
  return problems;
}

/** A parsed reference to a stage: `train-lora[glue, *]`. */
interface InputReference {
  readonly stage: string;
  /** Dimensions whose values must equal those of the stage with the input. */
  readonly shared: readonly string[];
  /** True with `*`: the other dimensions take all their values. */
  readonly all: boolean;
  /** True if the reference has brackets. */
  readonly bracketed: boolean;
}

/** Parses a reference, whose form the schema has checked. */
function parseInputReference(text: string): InputReference {
  const bracket = text.indexOf("[");
  if (bracket < 0) {
    return { stage: text, shared: [], all: false, bracketed: false };
  }
  const names = text.slice(bracket + 1, -1).split(",").map((it) => it.trim());
  return {
    stage: text.slice(0, bracket),
    shared: names.filter((it) => it !== "*"),
    all: names.includes("*"),
    bracketed: true,
  };
}

/** The fault of a reference with regard to the dimensions of both stages; undefined if there is none. */
function checkDimensions(
  reference: InputReference,
  many: boolean,
  own: readonly string[],
  theirs: readonly string[],
): string | undefined {
  const { stage, shared, all, bracketed } = reference;
  if (new Set(shared).size < shared.length) {
    return `The reference to "${stage}" names a dimension twice`;
  }
  for (const dimension of shared) {
    if (!theirs.includes(dimension)) {
      return `Stage "${stage}" has no dimension "${dimension}"` +
        didYouMean(dimension, theirs);
    }
    if (!own.includes(dimension)) {
      return `This stage has no dimension "${dimension}" to match with "${stage}"` +
        didYouMean(dimension, own);
    }
  }
  const open = theirs.filter((it) => !shared.includes(it));
  if (all && !many) {
    return `This input takes one artifact, but "*" selects any number of artifacts`;
  }
  if (open.length > 0 && !all && !(many && bracketed)) {
    const names = theirs.filter((it) => own.includes(it));
    const remedy = many
      ? `"${stage}[${[...names, "*"].join(", ")}]"`
      : names.length === theirs.length
      ? `"${stage}[${names.join(", ")}]"`
      : undefined;
    return `Stage "${stage}" has a matrix over ${
      quoted(open)
    }, for which this reference names no value` +
      (remedy ? `; write ${remedy}` : "; this input takes one artifact");
  }
  return undefined;
}

/** The stages of one name, indexed by the dimensions that references share. */
class Candidates<T extends Placed> {
  readonly #byShared = new Map<string, Map<string, readonly T[]>>();

  constructor(readonly stages: readonly T[]) {}

  /** The stages that a reference selects for a stage at `place`, in the order of their matrix. */
  find({ shared }: InputReference, place: Placed["place"]): readonly T[] {
    if (shared.length === 0) return this.stages;
    let index = this.#byShared.get(shared.join());
    if (index === undefined) {
      index = Map.groupBy(this.stages, (it) => valuesOf(it.place, shared));
      this.#byShared.set(shared.join(), index);
    }
    return index.get(valuesOf(place, shared)) ?? [];
  }
}

function valuesOf(place: Placed["place"], dimensions: readonly string[]) {
  return JSON.stringify(dimensions.map((it) => place[it] ?? null));
}

function quoted(names: readonly string[]): string {
  return names.map((it) => `"${it}"`).join(", ");
}

/** Ids of the stages connected to each input of a stage. */
type Connections = Readonly<Record<string, readonly string[]>>;

/** Connects expanded stages. */
export class Connector {
  readonly #candidates = new Map<string, Candidates<Placed>>();

  constructor(
    stages: ReadonlyMap<string, readonly Placed[]>,
    readonly faults: FaultList,
  ) {
    for (const [name, placed] of stages) {
      this.#candidates.set(name, new Candidates(placed));
    }
  }

  /**
   * The connections of a stage at its place. An input that selects no stage
   * there is left out, as if the file did not give it: a stage whose `start` is
   * excluded equals one without `start`. Inputs from stages with faults are
   * left out, too.
   */
  connect(stage: Placed, edges: readonly Edge[]): Connections {
    const connections: Record<string, readonly string[]> = {};
    for (const edge of edges) {
      const connected = this.#connect(stage, edge);
      if (connected?.length) connections[edge.input] = connected;
    }
    return connections;
  }

  #connect(
    stage: Placed,
    { input, declaration, references, path }: Edge,
  ): readonly string[] | undefined {
    const ids: string[] = [];
    for (const reference of references) {
      const candidates = this.#candidates.get(reference.stage);
      if (candidates === undefined) return undefined;
      const found = candidates.find(reference, stage.place);
      const excluded = candidates.stages.length === 0;
      if (
        found.length === 0 && !declaration.optional &&
        !(declaration.many && excluded)
      ) {
        this.faults.addAtKey(
          path,
          `No stage "${reference.stage}" matches "${stage.id}"`,
        );
      }
      if (found.length > 1 && !declaration.many) {
        const [first, second] = found;
        this.faults.addAtKey(
          path,
          `Input "${input}" takes one artifact, but "${stage.id}" matches "${
            first!.id
          }", "${second!.id}"${found.length > 2 ? " and more" : ""}`,
        );
      }
      for (const { id } of found) ids.push(id);
    }
    const absent = references.every(({ stage }) =>
      this.#candidates.get(stage)?.stages.length === 0
    );
    if (absent && declaration.many && !declaration.optional) {
      this.faults.addAtKey(
        path,
        `Input "${input}" of "${stage.id}" has no artifact: the matrix of ${
          quoted(references.map(({ stage }) => stage))
        } has no combinations left`,
      );
    }
    return [...new Set(ids)];
  }
}
