/** Reads YAML into plain values. */
import { parse } from "@std/yaml";
import { type Fault, isMapping, type PlacedFault } from "./faults.ts";
import { mask, RESERVED, unmask } from "./references.ts";

/** Maximum number of values of a file with its aliases expanded, and of levels. */
const MAX_VALUES = 100_000;
const MAX_DEPTH = 100;

/** A YAML text as a value. */
interface Read {
  /** Undefined if there are faults. */
  readonly value: unknown;
  /** Faults of the syntax. */
  readonly faults: readonly Fault[];
}

/** Reads one YAML document (core schema) in which references need no quotes. */
export async function readYaml(text: string): Promise<Read> {
  const refuse = (...faults: Fault[]) => ({ value: undefined, faults });
  const reserved = RESERVED.exec(text);
  if (reserved !== null) {
    const [{ length }] = reserved;
    return refuse({
      message: 'Characters U+E000 to U+E004 and "__proto__" are not allowed',
      span: { offset: reserved.index, length },
    });
  }
  try {
    const value = parse(mask(text), { schema: "core" });
    return { value: unmaskedCopy(value, { values: 0 }), faults: [] };
  } catch (error) {
    if (error instanceof SyntaxError) {
      const { YamlPlaces } = await import("./places.ts");
      return refuse(...new YamlPlaces(text).syntaxFaults(error.message));
    }
    // Either the reader's stack or that of the copy.
    if (!(error instanceof RangeError)) throw error;
    return refuse({
      message:
        `The file has more than ${MAX_VALUES} values with its aliases expanded, or more than ${MAX_DEPTH} levels`,
    });
  }
}

/** @throws {RangeError} If the value is beyond the limits, as one that contains itself is. */
function unmaskedCopy(
  value: unknown,
  count: { values: number },
  depth = 0,
): unknown {
  if (++count.values > MAX_VALUES || depth > MAX_DEPTH) {
    throw new RangeError("Beyond the limits");
  }
  if (typeof value === "string") return unmask(value);
  if (Array.isArray(value)) {
    return value.map((item) => unmaskedCopy(item, count, depth + 1));
  }
  return isMapping(value)
    ? Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        unmask(key),
        unmaskedCopy(item, count, depth + 1),
      ]),
    )
    : value;
}

/** Looks up where faults of a file are in its text, and adds faults of the syntax, which may be their cause. */
export async function locate(
  faults: readonly PlacedFault[],
  text: string,
): Promise<Fault[]> {
  const { YamlPlaces } = await import("./places.ts");
  const places = new YamlPlaces(text);
  const located = faults.map(({ place, ...fault }) => ({
    ...fault,
    ...(place && { span: places.spanOf(place) }),
  }));
  // Values of an alias have one place.
  const distinct = new Map(located.map((it) => [JSON.stringify(it), it]));
  return [...places.syntaxFaults(), ...distinct.values()];
}
