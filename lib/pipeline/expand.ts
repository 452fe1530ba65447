import { z } from "zod";
import type { Definition } from "./definitions.ts";
import type { FaultList } from "./fault.ts";
import { reportIssues } from "./issues.ts";
import type { Placed } from "./inputs.ts";
import {
  type Combination,
  expandMatrix,
  productSize,
  stageId,
} from "./matrix.ts";
import { MERGE_KEY, mergeKey, withoutMergeKey } from "./merge_key.ts";
import { readMatrix } from "./matrix_source.ts";
import { substitute } from "./reference.ts";
import { StageSettings } from "./schema.ts";
import type { Task } from "./task.ts";
import { keySpanAt, type Mapping, spanAt, type Tree } from "./tree.ts";

/** Most stages that a pipeline may have. */
export const MOST_STAGES = 10_000;

/** Most values and characters that the parameters of all stages may have together. */
const MOST_CONTENT = 16_000_000;

/** Longest id of a stage: it names a folder. */
const LONGEST_ID = 200;

/** A stage at one place of its matrix. */
export interface PlacedStage extends Placed {
  /** What `${matrix.x}` can name. */
  readonly values: Mapping;
}

/** What a stage's references stand for. */
export interface Content {
  readonly params: Mapping;
  readonly settings: z.output<typeof StageSettings>;
}

/** Expands the stages of one file, and counts what they take together. */
export class Expansion {
  #stages = 0;
  #content = 0;

  constructor(
    readonly tree: Tree,
    readonly params: Mapping,
    readonly faults: FaultList,
  ) {}

  /** The places of a stage's matrix, none if all are excluded; undefined if it has faults. */
  place({ name, written, damaged }: Definition): PlacedStage[] | undefined {
    if (damaged.has("matrix")) return undefined;
    if (written.matrix === undefined) return this.#placed(name, [ALONE]);
    const path = ["stages", name, "matrix"];
    const matrix = readMatrix(
      written.matrix,
      this.params,
      this.tree,
      path,
      this.faults,
    );
    if (matrix === undefined) return undefined;
    const size = productSize(matrix) + matrix.include.length;
    if (size > MOST_STAGES) return this.#tooMany(name);
    const combinations = expandMatrix(matrix);
    if (combinations.length === 0 && matrix.exclude.length === 0) {
      this.faults.add(
        `The matrix of stage "${name}" has no combination`,
        keySpanAt(this.tree, path),
      );
      return undefined;
    }
    return this.#placed(name, combinations);
  }

  #placed(name: string, combinations: Combination[]) {
    this.#stages += combinations.length;
    if (this.#stages > MOST_STAGES) return this.#tooMany(name);
    const span = keySpanAt(this.tree, ["stages", name]);
    const ids = new Set<string>();
    return combinations.map(({ place, values }) => {
      const id = stageId(name, place);
      if (ids.has(id)) this.faults.add(`Two stages have the id "${id}"`, span);
      if (id.length > LONGEST_ID) {
        this.faults.add(
          `The id "${id}" has more than ${LONGEST_ID} characters`,
          span,
        );
      }
      ids.add(id);
      return { id, place, values };
    });
  }

  #tooMany(name: string): undefined {
    this.faults.add(
      `The pipeline has more than ${MOST_STAGES} stages`,
      keySpanAt(this.tree, ["stages", name]),
    );
  }

  /** Parameters, checked by the task, and settings of a stage; undefined if they have faults. */
  fill(
    { name, written, damaged }: Definition,
    { values }: PlacedStage,
    task: Task | undefined,
  ): Content | undefined {
    if (this.#content > MOST_CONTENT) return undefined;
    const settings = this.#settings(name, written, values);
    const params = damaged.has("with") || task === undefined
      ? undefined
      : this.#params(name, written, values, strict(task.params));
    if (this.#content > MOST_CONTENT) {
      this.faults.add(
        `The parameters of all stages have more than ${MOST_CONTENT} values and characters`,
        keySpanAt(this.tree, ["stages", name]),
      );
    }
    return settings && params && { params, settings };
  }

  #settings(name: string, written: Definition["written"], matrix: Mapping) {
    const { resources, mutex, retries, timeout } = written;
    const at = ["stages", name];
    const settings = { resources, mutex, retries, timeout };
    const resolved = this.#resolve(settings, matrix, at);
    return this.#check(resolved, StageSettings, `stage "${name}"`);
  }

  #params(
    name: string,
    written: Definition["written"],
    matrix: Mapping,
    schema: z.ZodType<Mapping>,
  ): Mapping | undefined {
    const at = ["stages", name, "with"];
    const owner = `task "${written.task}"`;
    const resolved = this.#resolve(written.with, matrix, at);
    const params = this.#check(resolved, schema, owner);
    if (params !== undefined && !isData(params)) {
      this.faults.add(
        `The parameters of ${owner} are no plain data once its schema has read them`,
        keySpanAt(this.tree, at),
      );
    }
    return params;
  }

  /** Resolves references, and then the merge key. */
  #resolve(written: Mapping, matrix: Mapping, at: readonly string[]): Resolved {
    const unresolved = new Set<string>();
    const scope = { params: this.params, matrix };
    const fail = (message: string, path: readonly PropertyKey[]) => {
      unresolved.add(path.join("."));
      this.faults.add(message, spanAt(this.tree, [...at, ...path]));
    };
    const substituted = substitute(written, scope, fail) as Mapping;
    const value = unresolved.has(MERGE_KEY)
      ? withoutMergeKey(substituted)
      : mergeKey(substituted, (message) => fail(message, [MERGE_KEY]));
    this.#content += contentOf(value, MOST_CONTENT - this.#content);
    return { value, written, at, unresolved };
  }

  /** Checks what references stand for; one wrong value hides no other. */
  #check<T>(
    { value, written, at, unresolved }: Resolved,
    schema: z.ZodType<T>,
    owner: string,
  ): T | undefined {
    if (this.#content > MOST_CONTENT) return undefined;
    const result = schema.safeParse(value);
    if (result.success) return unresolved.size > 0 ? undefined : result.data;
    const { tree, faults } = this;
    /** Parameters that are not written themselves stand under the merge key. */
    const inTree = ([key, ...rest]: readonly PropertyKey[]) =>
      key === undefined || key in written || !(MERGE_KEY in written)
        ? [key, ...rest].filter((it) => it !== undefined)
        : [MERGE_KEY];
    const issues = result.error.issues.filter(({ path }) =>
      !unresolved.has(path.join(".")) &&
      !unresolved.has(inTree(path).join("."))
    );
    reportIssues(issues, faults, { tree, at, schema, value, owner, inTree });
  }
}

/** A mapping with its references resolved. */
interface Resolved {
  readonly value: Mapping;
  readonly written: Mapping;
  /** Where it stands in the tree. */
  readonly at: readonly string[];
  /** Paths of the values whose references have faults. */
  readonly unresolved: ReadonlySet<string>;
}

const ALONE: Combination = { place: {}, values: {} };

/** The schema with unknown keys refused, unless it says what becomes of them. */
function strict(schema: z.ZodObject): z.ZodType<Mapping> {
  return schema.def.catchall === undefined ? schema.strict() : schema;
}

/** Number of values and characters, as far as `limit`. */
function contentOf(value: unknown, limit: number): number {
  if (typeof value === "string") return 1 + value.length;
  let content = 1;
  if (typeof value === "object" && value !== null) {
    for (const item of Object.values(value)) {
      content += contentOf(item, limit - content);
      if (content > limit) break;
    }
  }
  return content;
}

/** Whether a value survives being written as JSON. */
function isData(value: unknown): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return true;
    case "number":
      return Number.isFinite(value);
    case "object":
      if (value === null) return true;
      if (Array.isArray(value)) return value.every(isData);
      return [Object.prototype, null].includes(Object.getPrototypeOf(value)) &&
        Object.values(value).every(isData);
    default:
      return false;
  }
}
