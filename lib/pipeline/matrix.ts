/** The matrix of a stage: its values, and the combinations that they make. */
import { didYouMean } from "./did_you_mean.ts";
import {
  describe,
  type FaultList,
  isMapping,
  type Mapping,
  type Path,
} from "./faults.ts";
import { substitute } from "./references.ts";
import { Key, MATRIX_TEXT_RULE, MatrixValue } from "./schema.ts";

/** One combination of a matrix. */
export interface Combination {
  /** Values by dimension, in the order of the file. They are part of the stage's id. */
  readonly place: Readonly<Record<string, string | number>>;
  /** The place and the keys that `include` adds: what `${matrix.x}` can name. */
  readonly values: Mapping;
}

/** A matrix with its references resolved. */
interface MatrixSource {
  readonly dimensions: Readonly<Record<string, readonly (string | number)[]>>;
  readonly include: readonly Mapping[];
  readonly exclude: readonly Mapping[];
}

/** Number of combinations of the dimensions, before `include` and `exclude`. */
export function productSize({ dimensions }: MatrixSource): number {
  const sizes = Object.values(dimensions).map((it) => it.length);
  return sizes.length === 0 ? 0 : sizes.reduce((a, b) => a * b, 1);
}

/**
 * Expands a matrix as GitHub Actions does.
 *
 * The result starts with all combinations of the dimensions, in the order of
 * the file, the last dimension fastest. Combinations that have all values of an
 * entry of `exclude` are removed. Then each entry of `include` adds its keys to
 * every combination whose values it does not contradict; an entry that fits no
 * combination becomes one itself.
 *
 * Keys that `include` adds are not part of the place, unless the matrix has no
 * dimensions: then each text or number of an entry is.
 */
export function expandMatrix(source: MatrixSource): Combination[] {
  const names = Object.keys(source.dimensions);
  const originals = product(source.dimensions).filter((place) =>
    !source.exclude.some((entry) =>
      Object.entries(entry).every(([key, value]) => place[key] === value)
    )
  );
  const combinations = originals.map((place) => ({
    place,
    values: { ...place } as Mapping,
  }));
  const added: Combination[] = [];
  for (const entry of source.include) {
    const fitting = combinations.filter(({ place }) =>
      Object.entries(entry).every(([key, value]) =>
        !Object.hasOwn(place, key) || place[key] === value
      )
    );
    for (const { values } of fitting) Object.assign(values, entry);
    if (fitting.length === 0) {
      added.push({ place: placeOf(entry, names), values: entry });
    }
  }
  return [...combinations, ...added];
}

function product(
  dimensions: MatrixSource["dimensions"],
): Record<string, string | number>[] {
  const entries = Object.entries(dimensions);
  if (entries.length === 0) return [];
  let places: Record<string, string | number>[] = [{}];
  for (const [dimension, values] of entries) {
    places = places.flatMap((place) =>
      values.map((value) => ({ ...place, [dimension]: value }))
    );
  }
  return places;
}

function placeOf(
  entry: Mapping,
  names: readonly string[],
): Record<string, string | number> {
  return Object.fromEntries(
    placeKeys(entry, names).map((key) => [key, entry[key] as string | number]),
  );
}

/** Keys of an entry of `include` whose values are part of the id: its dimensions, or without any in the matrix all with text or a number. */
function placeKeys(entry: Mapping, names: readonly string[]): string[] {
  return names.length > 0
    ? names.filter((name) => Object.hasOwn(entry, name))
    : Object.keys(entry).filter((key) =>
      typeof entry[key] === "string" || typeof entry[key] === "number"
    );
}

/** A stage at one place of its matrix. */
export interface Placed {
  readonly id: string;
  readonly place: Readonly<Record<string, string | number>>;
}

/**
 * The id of a stage: `train-dylora@mrpc,seed=0`.
 *
 * Text appears alone and numbers with their dimension, in the order of the
 * matrix: ids are short and still tell `rank=4` from `seed=4`.
 */
export function stageId(
  name: string,
  place: Readonly<Record<string, string | number>>,
): string {
  const components = Object.entries(place).map(([dimension, value]) =>
    typeof value === "string" ? value : `${dimension}=${value}`
  );
  return components.length === 0 ? name : `${name}@${components.join(",")}`;
}

/** Whether a value can be an entry of `include` or `exclude`. */
function isEntry(value: unknown): value is Mapping {
  return isMapping(value) && Object.keys(value).length > 0;
}

/**
 * Resolves the references of a matrix and checks its values.
 *
 * @param path Path of the matrix in the file.
 * @returns undefined if the matrix has faults, which are added to `faults`.
 */
export function readMatrix(
  written: Mapping,
  params: Mapping,
  path: readonly string[],
  faults: FaultList,
): MatrixSource | undefined {
  const before = faults.size;
  const unresolved = new Set<string>();
  const resolved = substitute(written, { params }, (message, at) => {
    unresolved.add(at.join("."));
    faults.addAt([...path, ...at], message);
  }) as Mapping;
  const fail = (message: string, at: Path) => {
    if (unresolved.has(at.join("."))) return;
    faults.addAt([...path, ...at], message);
  };
  const { include, exclude, ...rest } = resolved;
  const dimensions: Record<string, (string | number)[]> = {};
  for (const [name, values] of Object.entries(rest)) {
    if (!Key.safeParse(name).success) {
      faults.addAtKey(
        [...path, name],
        `Invalid name "${name}" of a dimension: a name consists of at most 100 letters, digits, "_" and "-", and does not begin with "-"`,
      );
    }
    dimensions[name] = checkValues(name, values, fail);
    // A list that a parameter gives may be empty: a profile fills it.
    if (Array.isArray(written[name]) && dimensions[name].length === 0) {
      fail(`Dimension "${name}" has no values`, [name]);
    }
  }
  const names = Object.keys(dimensions);
  const matrix = {
    dimensions,
    include: checkEntries("include", include, fail),
    exclude: checkEntries("exclude", exclude, fail),
  };
  for (const [index, entry] of matrix.exclude.entries()) {
    for (const key of Object.keys(entry)) {
      if (names.includes(key)) continue;
      faults.addAtKey(
        [...path, "exclude", index, key],
        `"exclude" names "${key}", which is not a dimension of the matrix` +
          didYouMean(key, names),
      );
    }
  }
  for (const [index, entry] of matrix.include.entries()) {
    for (const name of placeKeys(entry, names)) {
      checkValue(
        entry[name],
        (message) => fail(message, ["include", index, name]),
      );
    }
  }
  return faults.size > before ? undefined : matrix;
}

type Fail = (message: string, at: Path) => void;

function checkValues(
  name: string,
  values: unknown,
  fail: Fail,
): (string | number)[] {
  if (!Array.isArray(values)) {
    fail(
      `Dimension "${name}" must be a list of values, got ${describe(values)}`,
      [name],
    );
    return [];
  }
  const seen = new Set<unknown>();
  for (const [index, value] of values.entries()) {
    checkValue(value, (message) => fail(message, [name, index]));
    if (seen.has(value)) {
      fail(`Dimension "${name}" contains ${describe(value)} twice`, [
        name,
        index,
      ]);
    }
    seen.add(value);
  }
  return values;
}

function checkValue(value: unknown, fail: (message: string) => void): void {
  const result = MatrixValue.safeParse(value);
  if (result.success) return;
  fail(
    typeof value === "string"
      ? `Invalid matrix value "${value.slice(0, 80)}": ${MATRIX_TEXT_RULE}`
      : `A matrix value must be text or a finite number, got ${
        describe(value)
      }`,
  );
}

function checkEntries(key: string, entries: unknown, fail: Fail): Mapping[] {
  if (entries === undefined) return [];
  if (!Array.isArray(entries)) {
    fail(`"${key}" must be a list of mappings, got ${describe(entries)}`, [
      key,
    ]);
    return [];
  }
  for (const [index, entry] of entries.entries()) {
    if (!isEntry(entry)) {
      fail(
        `An entry of "${key}" must be a mapping with at least one key`,
        [key, index],
      );
    }
  }
  return entries.filter(isEntry);
}
