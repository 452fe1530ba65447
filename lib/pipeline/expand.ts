/**
 * Expands a stage: its coordinates, and its parameters and settings at each.
 */
import type { z } from "zod";
import { canonicalJson } from "../files/digest.ts";
import { type Definition, reportIssues } from "./check.ts";
import {
  type FaultList,
  isMapping,
  type Mapping,
  type Path,
  valueAt,
} from "./faults.ts";
import {
  type Edge,
  inheritedCoordinates,
  inheritedDimensions,
  StageFamily,
  type StageInstance,
} from "./inputs.ts";
import { expandMatrix, ownDimensions, readMatrix, stageId } from "./matrix.ts";
import {
  isUnresolved,
  MERGE_KEY,
  mergeKey,
  type ReferenceFault,
  type Scope,
  substitute,
} from "./references.ts";
import { StageSettings } from "./schema.ts";
import type { Task } from "./task.ts";

/** Maximum characters of a stage id, which names a folder. */
const LONGEST_ID = 200;

/** Expands the stages of one file. */
export class Expansion {
  constructor(
    /** Value of the whole file. */
    readonly file: Mapping,
    /** Parameters, with overrides applied. */
    readonly params: Mapping,
    readonly faults: FaultList,
  ) {}

  /**
   * The stages of one name, one for each combination of its inputs and its
   * matrix, none if its condition leaves it out; undefined if the matrix has
   * faults.
   *
   * @param edges Undefined if the inputs have faults: then the combinations are
   * those of the matrix alone.
   */
  instances(
    { name, written, damaged }: Definition,
    edges: readonly Edge[] | undefined,
    families: ReadonlyMap<string, StageFamily>,
  ): StageFamily | undefined {
    if (damaged.has("matrix")) return undefined;
    const dimensions = edges && inheritedDimensions(edges, families);
    const matrix = readMatrix(name, written.matrix ?? {}, dimensions, this);
    if (matrix === undefined) return undefined;
    const matrixDimensions = ownDimensions(matrix);
    const inherited = edges
      ? inheritedCoordinates(edges, families, matrixDimensions)
      : [{}];
    const at = ["stages", name];
    const ids = new Set<string>();
    const combinations = this.#isLeftOut(name, written.if)
      ? []
      : expandMatrix(matrix, inherited);
    const stages = combinations.map((combination) => {
      const id = stageId(name, combination.coordinates);
      if (id.length > LONGEST_ID) {
        const message = `The stage id "${id}" is too long to name a folder`;
        this.faults.addAtKey(at, message);
      }
      if (ids.has(id)) {
        this.faults.addAtKey(at, `Two stages have the id "${id}"`);
      }
      ids.add(id);
      return { id, ...combination };
    });
    const all = new Set([...dimensions ?? [], ...matrixDimensions]);
    return new StageFamily([...all], stages);
  }

  /**
   * Whether the condition of a stage, a value or a reference, leaves it out.
   */
  #isLeftOut(name: string, condition: unknown): boolean {
    const { if: value } = substitute(
      { if: condition },
      { params: this.params },
      (fault) => this.faults.addAt(["stages", name, "if"], fault.message),
    ) as Mapping;
    return value === null || value === false;
  }

  /**
   * Resolves and checks the parameters and settings of a stage; undefined if
   * they have faults. Of an unknown task, only the references are checked.
   *
   * @param partial True if the stage has unknown dimensions, from faulty
   * inputs.
   */
  fill(
    { name, written, damaged }: Definition,
    { values }: StageInstance,
    task: Task | undefined,
    partial: boolean,
  ) {
    const scope = { params: this.params, matrix: values, partial };
    const { resources, mutex, retries, timeout } = written;
    const general = { resources, mutex, retries, timeout };
    const at = ["stages", name];
    const stage = `stage "${name}"`;
    const settings = this.#read(general, scope, at, stage, StageSettings);
    if (damaged.has("with")) return undefined;
    const within = [...at, "with"];
    const owner = `task "${written.task}"`;
    const schema = task && strict(task.params);
    const params = this.#read(written.with, scope, within, owner, schema);
    try {
      canonicalJson(params ?? {});
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const message = `The parameter schema of ${owner}: ${error.message}`;
      this.faults.addAtKey(within, message);
    }
    return settings && params && { params, settings };
  }

  /**
   * Resolves the references of a mapping, merges the one under the merge key,
   * and checks the values; a faulty value does not hide other faults.
   *
   * @param at Path of the mapping in the file.
   * @param schema If it is undefined, only the references are checked.
   */
  #read<T>(
    written: Mapping,
    scope: Scope & { readonly partial: boolean },
    at: readonly string[],
    owner: string,
    schema: z.ZodType<T> | undefined,
  ): T | undefined {
    const { file, faults } = this;
    let isFaulty = false;
    const fail = ({ message, path, lackedBy }: ReferenceFault) => {
      isFaulty = true;
      // It may lack dimensions only because its inputs have faults.
      if (scope.partial && lackedBy === "matrix") return;
      faults.addAt([...at, ...path], message);
    };
    const substituted = substitute(written, scope, fail) as Mapping;
    const { unmerged, merged } = mergeKey(substituted, fail);
    const value = merged ?? unmerged;
    if (schema === undefined) return undefined;
    const result = schema.safeParse(value);
    if (result.success) return isFaulty ? undefined : result.data;
    // Parameters that are not in the mapping itself come from the merge key.
    const mergedFrom = (key: PropertyKey | undefined): Path =>
      key === undefined || key in written || !(MERGE_KEY in written)
        ? []
        : [MERGE_KEY, ...indexIn(substituted[MERGE_KEY], key)];
    const inFile = (path: Path) => [...mergedFrom(path[0]), ...path];
    const issues = result.error.issues.filter(({ path }) =>
      !isUnresolved(valueAt(value, path)) &&
      (merged !== undefined || path.length === 0 || path[0]! in unmerged)
    );
    reportIssues(issues, faults, { file, at, schema, value, owner, inFile });
  }
}

/** The schema, refusing unknown keys unless it handles them itself. */
function strict(schema: z.ZodObject): z.ZodType<Mapping> {
  return schema.def.catchall === undefined ? schema.strict() : schema;
}

/**
 * Index of the merged mapping that supplies a parameter, if there is a list of
 * them.
 */
function indexIn(merged: unknown, key: PropertyKey): number[] {
  if (!Array.isArray(merged)) return [];
  const index = merged.findIndex((it) => isMapping(it) && key in it);
  return index < 0 ? [] : [index];
}
