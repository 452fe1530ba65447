/** The matrix of a stage: its values, and the combinations that they make. */
import * as z from "zod";
import { reportIssues } from "./check.ts";
import { didYouMean } from "./did_you_mean.ts";
import {
  describe,
  type FaultList,
  type Mapping,
  type Path,
  valueAt,
} from "./faults.ts";
import { isUnresolved, substitute } from "./references.ts";
import { Key, List, MatrixEntry, MatrixItem, MatrixValue } from "./schema.ts";

/** Values by dimension, in the order of the stage's id. */
export type MatrixValues = Readonly<Record<string, string | number>>;

/** One combination of a matrix. */
export interface Combination {
  /** The values that are part of the stage's id. */
  readonly coordinates: MatrixValues;
  /**
   * The coordinates and the keys that `include` adds: what `${matrix.x}` can
   * name.
   */
  readonly values: Mapping;
}

/** A matrix with its references resolved. */
interface MatrixSource {
  /** Values by dimension, in the order of the file. */
  readonly dimensions: Readonly<Record<string, readonly (string | number)[]>>;
  readonly include: readonly Mapping[];
  /** Values, or lists of them, by dimension. */
  readonly exclude: readonly Mapping[];
}

/** Names of the dimensions that coordinates have. */
export function dimensionsOf(coordinates: readonly MatrixValues[]): string[] {
  return [...new Set(coordinates.flatMap((values) => Object.keys(values)))];
}

/** Names of the dimensions that a matrix gives by itself. */
export function ownDimensions({ dimensions, include }: MatrixSource): string[] {
  const names = Object.keys(dimensions);
  return names.length > 0
    ? names
    : dimensionsOf(include.map((entry) => coordinatesOf(entry, names)));
}

/**
 * Expands a matrix as GitHub Actions does.
 *
 * The result starts with all combinations of the dimensions, in the order of
 * the file, the last dimension fastest, at each of the inherited coordinates.
 * Combinations that have the values of an entry of `exclude` are removed; a
 * list there stands for any of its values. Then each entry of `include` adds
 * its keys to every combination whose values it does not contradict; an entry
 * that fits no combination becomes one itself.
 *
 * Keys that `include` adds are not coordinates, unless the matrix has no
 * dimensions: then each text or number of an entry is one.
 *
 * @param inherited Coordinates by dimensions that the matrix does not have;
 * without any there are no combinations.
 */
export function expandMatrix(
  source: MatrixSource,
  inherited: readonly MatrixValues[] = [{}],
): Combination[] {
  if (inherited.length === 0) return [];
  const includesAlone = Object.keys(source.dimensions).length === 0 &&
    source.include.length > 0;
  const written: readonly Combination[] = includesAlone
    ? source.include.map((values) => ({
      coordinates: coordinatesOf(values, []),
      values,
    }))
    : product(source.dimensions).map((coordinates) => ({
      coordinates,
      values: coordinates,
    }));
  const combinations = inherited.flatMap((from) =>
    written.map(({ coordinates, values }) => ({
      coordinates: { ...from, ...coordinates },
      values: { ...from, ...values },
    }))
  ).filter(({ coordinates }) =>
    !source.exclude.some((entry) =>
      Object.entries(entry).every(([key, value]) =>
        [value].flat().includes(coordinates[key])
      )
    )
  );
  if (includesAlone) return combinations;
  const names = [
    ...dimensionsOf(inherited),
    ...Object.keys(source.dimensions),
  ];
  const added: Combination[] = [];
  for (const entry of source.include) {
    const fitting = combinations.filter(({ coordinates }) =>
      Object.entries(entry).every(([key, value]) =>
        !Object.hasOwn(coordinates, key) || coordinates[key] === value
      )
    );
    for (const { values } of fitting) Object.assign(values, entry);
    if (fitting.length === 0) {
      added.push({ coordinates: coordinatesOf(entry, names), values: entry });
    }
  }
  return [...combinations, ...added];
}

function product(dimensions: MatrixSource["dimensions"]): MatrixValues[] {
  return Object.entries(dimensions).reduce<MatrixValues[]>(
    (combinations, [dimension, values]) =>
      combinations.flatMap((coordinates) =>
        values.map((value) => ({ ...coordinates, [dimension]: value }))
      ),
    [{}],
  );
}

function coordinatesOf(entry: Mapping, names: readonly string[]): MatrixValues {
  return Object.fromEntries(
    coordinateKeys(entry, names).map((
      key,
    ) => [key, entry[key] as string | number]),
  );
}

/**
 * Keys of an entry of `include` whose values are part of the id: its
 * dimensions, or without any in the matrix all with text or a number.
 */
function coordinateKeys(entry: Mapping, names: readonly string[]): string[] {
  return names.length > 0
    ? names.filter((name) => Object.hasOwn(entry, name))
    : Object.keys(entry).filter((key) =>
      typeof entry[key] === "string" || typeof entry[key] === "number"
    );
}

/**
 * The id of a stage: `train-dylora@mrpc,seed=0`.
 *
 * Text appears alone and numbers with their dimension, in the order of the
 * matrix: ids are short and still tell `rank=4` from `seed=4`.
 */
export function stageId(name: string, coordinates: MatrixValues): string {
  const components = Object.entries(coordinates).map(([dimension, value]) =>
    typeof value === "string" ? value : `${dimension}=${value}`
  );
  return components.length === 0 ? name : `${name}@${components.join(",")}`;
}

/**
 * Resolves the references of the matrix of a stage and checks its values.
 *
 * @param inherited Dimensions of the inputs; undefined if they are unknown.
 * @returns Undefined if the matrix has faults, which are added to `faults`.
 */
export function readMatrix(
  stage: string,
  written: Mapping,
  inherited: readonly string[] | undefined,
  { file, params, faults }: {
    readonly file: Mapping;
    readonly params: Mapping;
    readonly faults: FaultList;
  },
): MatrixSource | undefined {
  const path = ["stages", stage, "matrix"];
  const before = faults.size;
  const value = substitute(
    written,
    { params },
    (fault) => faults.addAt([...path, ...fault.path], fault.message),
  ) as Mapping;
  const owner = `the matrix of stage "${stage}"`;
  const matrix: ResolvedMatrix = { path, value, written, faults, file, owner };
  partAt([], z.record(Key, z.unknown()), matrix);
  const dimensions = readDimensions(matrix);
  const names = Object.keys(dimensions);
  const include = entriesOf("include", matrix);
  const exclude = entriesOf("exclude", matrix);
  if (inherited !== undefined) {
    checkExclude(exclude, [...names, ...inherited], matrix);
  }
  for (const [index, entry] of include.entries()) {
    for (const name of coordinateKeys(entry, names)) {
      partAt(["include", index, name], MatrixValue, matrix);
    }
  }
  return faults.size > before ? undefined : { dimensions, include, exclude };
}

/** A matrix whose references are resolved, and where its faults go. */
interface ResolvedMatrix {
  /** Its place in the file. */
  readonly path: Path;
  readonly value: Mapping;
  /** As the file has it, with references. */
  readonly written: Mapping;
  readonly file: Mapping;
  readonly faults: FaultList;
  /** `the matrix of stage "train"` */
  readonly owner: string;
}

/** The part at a path, if it fits the schema. */
function partAt<T>(
  at: Path,
  schema: z.ZodType<T>,
  { path, value, file, faults, owner }: ResolvedMatrix,
): T | undefined {
  const { data, error } = schema.safeParse(valueAt(value, at));
  const issues = (error?.issues ?? [])
    .map((it) => ({ ...it, path: [...at, ...it.path] }))
    .filter((it) => !isUnresolved(valueAt(value, it.path)));
  reportIssues(issues, faults, { file, at: path, schema, value, owner });
  return data;
}

/** The values of each dimension, each once. */
function readDimensions(
  matrix: ResolvedMatrix,
): Record<string, (string | number)[]> {
  const { path, value, written, faults } = matrix;
  const dimensions: Record<string, (string | number)[]> = {};
  for (const name of Object.keys(value)) {
    if (name === "include" || name === "exclude") continue;
    const at = [...path, name];
    const list = partAt([name], List, matrix) ?? [];
    const values = list.flatMap((it, index) => {
      const item = partAt([name, index], MatrixItem, matrix);
      if (item !== undefined && list.indexOf(it) < index) {
        const message = `Dimension "${name}" contains ${describe(it)} twice`;
        faults.addAt([...at, index], message);
      }
      return item ?? [];
    });
    // A list that parameters give may be empty: a profile fills it.
    if (Array.isArray(written[name]) && written[name].length === 0) {
      faults.addAt(at, `Dimension "${name}" has no values`);
    }
    // The values of a list in the list take its coordinates, each once.
    dimensions[name] = [...new Set(values)];
  }
  return dimensions;
}

function entriesOf(
  key: "include" | "exclude",
  matrix: ResolvedMatrix,
): z.output<typeof MatrixEntry>[] {
  const entries = partAt([key], List, matrix) ?? [];
  return entries.map((_, at) => partAt([key, at], MatrixEntry, matrix) ?? {});
}

/** Checks that entries of `exclude` name dimensions of the stage. */
function checkExclude(
  exclude: readonly Mapping[],
  dimensions: readonly string[],
  { path, faults }: ResolvedMatrix,
): void {
  for (const [index, entry] of exclude.entries()) {
    for (const key of Object.keys(entry)) {
      if (dimensions.includes(key)) continue;
      faults.addAtKey(
        [...path, "exclude", index, key],
        `"exclude" names "${key}", which is not a dimension of the stage` +
          didYouMean(key, dimensions),
      );
    }
  }
}
