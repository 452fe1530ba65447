/** Key under which `with` takes over all parameters of a mapping, as YAML's merge key does. */
export const MERGE_KEY = "<<";

type Mapping = Record<string, unknown>;

/**
 * Puts the mapping under {@linkcode MERGE_KEY} in its place; what is written
 * beside it wins.
 *
 * @param fault Called if there is no mapping under the key
 */
export function mergeKey(
  values: Mapping,
  fault: (message: string) => void,
): Mapping {
  if (!Object.hasOwn(values, MERGE_KEY)) return values;
  const { [MERGE_KEY]: merged, ...own } = values;
  if (typeof merged === "object" && merged !== null && !Array.isArray(merged)) {
    return { ...merged, ...own };
  }
  fault(
    `Expected a mapping such as \${params.train} under "${MERGE_KEY}", found ${
      JSON.stringify(merged)
    }`,
  );
  return own;
}
