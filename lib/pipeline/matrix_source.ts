import type { FaultList } from "./fault.ts";
import { describe } from "./issues.ts";
import { isEntry, type MatrixSource } from "./matrix.ts";
import { substitute } from "./reference.ts";
import { Key, MATRIX_TEXT_RULE, MatrixValue } from "./schema.ts";
import { didYouMean } from "./suggest.ts";
import { keySpanAt, type Mapping, spanAt, type Tree } from "./tree.ts";

/**
 * The matrix of a stage with its references resolved and its values checked.
 *
 * @param path Path of the matrix in the tree.
 * @returns undefined if there are faults, which are added to `faults`.
 */
export function readMatrix(
  written: Mapping,
  params: Mapping,
  tree: Tree,
  path: readonly string[],
  faults: FaultList,
): MatrixSource | undefined {
  const before = faults.size;
  const fail = (message: string, at: readonly PropertyKey[]) => {
    faults.add(message, spanAt(tree, [...path, ...at]));
  };
  const resolved = substitute(written, { params }, fail) as Mapping;
  if (faults.size > before) return undefined;
  const { include, exclude, ...rest } = resolved;
  const dimensions: Record<string, (string | number)[]> = {};
  for (const [name, values] of Object.entries(rest)) {
    if (!Key.safeParse(name).success) {
      faults.add(
        `Invalid name "${name}" of a dimension: a name is made of letters, digits, "_" and "-"`,
        keySpanAt(tree, [...path, name]),
      );
    }
    dimensions[name] = checkValues(name, values, fail);
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
      faults.add(
        `"exclude" names no dimension "${key}" of the matrix` +
          didYouMean(key, names),
        keySpanAt(tree, [...path, "exclude", index, key]),
      );
    }
  }
  for (const [index, entry] of matrix.include.entries()) {
    for (const name of names) {
      if (!Object.hasOwn(entry, name)) continue;
      checkValue(
        entry[name],
        (message) => fail(message, ["include", index, name]),
      );
    }
  }
  return faults.size > before ? undefined : matrix;
}

type Fail = (message: string, at: readonly PropertyKey[]) => void;

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
  if (values.length === 0) fail(`Dimension "${name}" has no values`, [name]);
  const seen = new Set<unknown>();
  for (const [index, value] of values.entries()) {
    checkValue(value, (message) => fail(message, [name, index]));
    if (seen.has(value)) {
      fail(`Dimension "${name}" has ${describe(value)} twice`, [name, index]);
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
        `An entry of "${key}" must be a mapping with keys`,
        [key, index],
      );
    }
  }
  return entries.filter(isEntry);
}
