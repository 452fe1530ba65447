/** Functions shared by tests that feed parsers random inputs. */
import { assert, assertInstanceOf, AssertionError } from "@std/assert";
import { cpuUsage } from "node:process";
import fc from "fast-check";

/** Minimum number of inputs per property; the soak sets 2,000. */
const FUZZ_RUNS = Number(Deno.env.get("DYLORA_FUZZ_RUNS") ?? 500);
/**
 * Minimum number of inputs per parser (a test file); a long soak sets 100,000.
 */
const FUZZ_INPUTS = Number(Deno.env.get("DYLORA_FUZZ_INPUTS") ?? 0);

/**
 * Microseconds of the processor that a parser may take for an input of a few
 * kilobytes.
 */
const LONGEST = 2e6;
/** Bytes by which the process may grow over all inputs. */
const MOST_MEMORY = 1 << 30;

let properties = 0;

/**
 * Registers a test of a property of the file's parser; all of them share its
 * inputs.
 */
export function testProperty(
  name: string,
  check: () => void | Promise<void>,
): void {
  properties++;
  Deno.test(name, check);
}

/**
 * Tries random inputs one after another: each takes a bounded CPU time, which
 * does not depend on other work on the machine, and memory stays bounded.
 *
 * @param check Throws if the result of an input is wrong.
 */
export async function staysBounded<Input>(
  inputs: fc.Arbitrary<Input>,
  check: (input: Input) => unknown,
): Promise<void> {
  const before = memory();
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      const start = cpuUsage();
      await check(input);
      const { user, system } = cpuUsage(start);
      assert(user + system < LONGEST, "took too long");
      assert(memory() - before < MOST_MEMORY, "took too much memory");
    }),
    { numRuns: Math.max(FUZZ_RUNS, Math.ceil(FUZZ_INPUTS / properties)) },
  );
}

/**
 * Feeds a parser random inputs: it gives a value or throws a `SyntaxError` that
 * names the file and is readable, within the same bounds.
 *
 * @param parse Parses an input from a file, and checks the result.
 */
export async function survives<Input>(
  inputs: fc.Arbitrary<Input>,
  path: string,
  parse: (input: Input) => unknown,
): Promise<void> {
  let taken = 0;
  let refused = 0;
  await staysBounded(inputs, async (input) => {
    try {
      await parse(input);
      taken++;
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      assertInstanceOf(
        error,
        SyntaxError,
        error instanceof Error ? `${error.stack}` : String(error),
      );
      assert(error.message.includes(path), error.message);
      assert(error.message.length < 2000, "a message to be read");
      refused++;
    }
  });
  assert(taken > 0 && refused > 0, `${taken} taken, ${refused} refused`);
}

function memory(): number {
  const { rss, heapUsed, external } = Deno.memoryUsage();
  return Math.max(rss, heapUsed + external);
}

/** A valid text with some parts replaced by pieces, cut, or repeated. */
export function mutatedText(
  sound: string,
  pieces: fc.Arbitrary<string>,
): fc.Arbitrary<string> {
  const edit = fc.tuple(fc.nat(sound.length), fc.nat(8), pieces);
  return fc.array(edit, { maxLength: 6 }).map((edits) =>
    edits.reduce(
      (text, [at, length, piece]) =>
        text.slice(0, at) + piece + text.slice(at + length),
      sound,
    )
  );
}

/**
 * A valid file with some of its bytes replaced, and possibly truncated or
 * extended.
 */
export function mutatedBytes(
  sound: Uint8Array,
): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(0, 0x7f, 0x80, 0xff));
  return fc.record({
    edits: fc.array(fc.tuple(fc.nat(sound.length - 1), byte), { maxLength: 6 }),
    cut: fc.oneof(fc.constant(sound.length), fc.nat(sound.length)),
    more: fc.oneof(fc.constant(new Uint8Array()), fc.uint8Array()),
  }).map(({ edits, cut, more }) => {
    const bytes = Uint8Array.from(sound);
    for (const [at, value] of edits) bytes[at] = value;
    return Uint8Array.from([...bytes.subarray(0, cut), ...more]);
  });
}

/** A JSON value with some of its parts replaced or removed. */
export function mutatedJson(sound: unknown): fc.Arbitrary<unknown> {
  const places = placesOf(sound);
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(...places.slice(0, 200).map((place) => at(sound, place))),
    fc.constantFrom(undefined, -1, 0, 2 ** 53, 1e308, "", "__proto__"),
  );
  const edit = fc.tuple(fc.constantFrom(...places), value);
  return fc.array(edit, { maxLength: 4 }).map((edits) => {
    let copy = structuredClone(sound);
    for (const [place, value] of edits) copy = replaced(copy, place, value);
    return copy;
  });
}

type Place = readonly (string | number)[];

function placesOf(value: unknown, place: Place = []): Place[] {
  if (typeof value !== "object" || value === null) return [place];
  // A few of many similar items are enough.
  const keys = Array.isArray(value)
    ? [...value.keys()].slice(0, 8)
    : Object.keys(value).slice(0, 30);
  return [
    place,
    ...keys.flatMap((key) =>
      placesOf((value as Record<string | number, unknown>)[key], [
        ...place,
        key,
      ])
    ),
  ];
}

function at(value: unknown, place: Place): unknown {
  return place.reduce<unknown>(
    (value, key) => (value as Record<string | number, unknown>)[key],
    value,
  );
}

function replaced(value: unknown, place: Place, by: unknown): unknown {
  const [key, ...rest] = place;
  if (key === undefined) return structuredClone(by);
  if (typeof value !== "object" || value === null) return value;
  const record = value as Record<string | number, unknown>;
  if (!Object.hasOwn(record, key)) return value;
  if (rest.length === 0 && by === undefined) delete record[key];
  else record[key] = replaced(record[key], rest, by);
  return record;
}
