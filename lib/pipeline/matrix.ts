import { isMapping, type Mapping } from "./tree.ts";

/** One combination of a matrix. */
export interface Combination {
  /** Values by dimension, in the order of the file: the stage's place, and part of its id. */
  readonly place: Readonly<Record<string, string | number>>;
  /** The place, and whatever `include` adds to it: what `${matrix.x}` can name. */
  readonly values: Mapping;
}

/** A matrix with every reference resolved. */
export interface MatrixSource {
  readonly dimensions: Readonly<Record<string, readonly (string | number)[]>>;
  readonly include: readonly Mapping[];
  readonly exclude: readonly Mapping[];
}

/** How many combinations the dimensions alone would make. */
export function productSize({ dimensions }: MatrixSource): number {
  const sizes = Object.values(dimensions).map((it) => it.length);
  return sizes.length === 0 ? 0 : sizes.reduce((a, b) => a * b, 1);
}

/**
 * Expands a matrix as GitHub Actions does.
 *
 * All combinations of the dimensions are made, in the order of the file, the
 * last dimension fastest. Those that have all values of an entry of `exclude`
 * are removed. Then each entry of `include` adds its keys to every
 * combination whose dimensions it does not contradict; an entry that fits
 * none becomes a combination of its own.
 *
 * Keys that `include` adds are settings, no part of the place, unless there
 * are no dimensions at all: then each text or number of an entry is one.
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
  const place: Record<string, string | number> = {};
  const keys = names.length > 0 ? names : Object.keys(entry);
  for (const key of keys) {
    const value = entry[key];
    if (typeof value === "string" || typeof value === "number") {
      place[key] = value;
    }
  }
  return place;
}

/**
 * The id of a stage: `train-dylora@mrpc,seed=0`.
 *
 * Text stands bare and numbers with their dimension, in the order of the
 * matrix, so that ids are short and still tell `rank=4` from `seed=4`.
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

/** Whether a value of an `include` or `exclude` list is an entry of it. */
export function isEntry(value: unknown): value is Mapping {
  return isMapping(value) && Object.keys(value).length > 0;
}
