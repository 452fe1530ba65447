import { describe } from "./issues.ts";
import { isMapping, type Mapping } from "./tree.ts";

/** Key under which `with` takes over all parameters of a mapping, as YAML's merge key does. */
export const MERGE_KEY = "<<";

/**
 * Puts the mapping under {@linkcode MERGE_KEY} in its place; what is written
 * beside it wins.
 *
 * @param fail Called if there is no mapping under the key.
 */
export function mergeKey(
  values: Mapping,
  fail: (message: string) => void,
): Mapping {
  if (!Object.hasOwn(values, MERGE_KEY)) return values;
  const merged = values[MERGE_KEY];
  const own = withoutMergeKey(values);
  if (isMapping(merged)) return { ...merged, ...own };
  fail(
    `Expected a mapping such as \${params.train} under "${MERGE_KEY}", got ${
      describe(merged)
    }`,
  );
  return own;
}

/** The values without what stands under {@linkcode MERGE_KEY}. */
export function withoutMergeKey(values: Mapping): Mapping {
  const { [MERGE_KEY]: _, ...own } = values;
  return own;
}
