/** Reads YAML into plain values. */
import { parse } from "@std/yaml";
import { type Fault, isMapping, type PlacedFault } from "./faults.ts";
import { mask, unmask } from "./references.ts";

/**
 * Reads one YAML document (core schema) in which references need no quotes.
 *
 * @returns The value, undefined if there are faults of the syntax.
 */
export async function readYaml(text: string) {
  const refuse = (...faults: Fault[]) => ({ value: undefined, faults });
  // They stand for brackets of references.
  if (/[\ue000-\ue004]/.test(text)) {
    return refuse({ message: "Characters U+E000 to U+E004 are not allowed" });
  }
  try {
    const value = parse(mask(text), { schema: "core" });
    return { value: unmaskedCopy(value), faults: [] as Fault[] };
  } catch (error) {
    if (error instanceof SyntaxError) {
      const { YamlPlaces } = await import("./places.ts");
      return refuse(...new YamlPlaces(text).syntaxFaults(error.message));
    }
    // Either the reader's stack or that of the copy.
    if (!(error instanceof RangeError)) throw error;
    return refuse({
      message: "The file has too many levels, or a value that contains itself",
    });
  }
}

function unmaskedCopy(value: unknown): unknown {
  if (typeof value === "string") return unmask(value);
  if (Array.isArray(value)) return value.map(unmaskedCopy);
  if (!isMapping(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, it]) => [unmask(key), unmaskedCopy(it)]),
  );
}

/**
 * Looks up where faults of a file are in its text, and adds faults of the
 * syntax, which may be their cause.
 */
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
