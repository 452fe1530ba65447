import {
  assertEquals,
  assertIsError,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import fc from "fast-check";
import { join } from "node:path";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import { writeSafetensors } from "../../../lib/engine/safetensors/writer.ts";
import { assertSameBits } from "../reference.ts";

const fixture = (name: string) =>
  join(import.meta.dirname!, "../../../fixtures/safetensors", name);

/** A safetensors file from the text of its header. */
function fileOf(header: string | object, data = new Uint8Array(0)): Uint8Array {
  const json = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

function withFile<T>(bytes: Uint8Array, body: (path: string) => T): T {
  const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
  try {
    Deno.writeFileSync(path, bytes);
    return body(path);
  } finally {
    Deno.removeSync(path);
  }
}

function assertRefused(bytes: Uint8Array, message: RegExp): void {
  withFile(bytes, (path) => {
    const error = assertThrows(() => SafetensorsFile.open(path), SyntaxError);
    assertMatch(error.message, message);
    assertStringIncludes(error.message, path, "names the file");
  });
}

Deno.test("SafetensorsFile reads every type as the reference implementation wrote it", () => {
  using file = SafetensorsFile.open(fixture("types.safetensors"));
  assertSameBits(
    file.floats("f32"),
    new Float32Array([0.1, -2, 3.4028234663852886e38, 1e-45]),
  );
  assertSameBits(
    file.floats("f16"),
    new Float32Array([0, -0, 1, -1.5, 65504, 2 ** -14, 2 ** -24, Infinity]),
  );
  assertSameBits(
    file.floats("bf16"),
    new Float32Array([1, -2.5, 3.140625, 2 ** -133, -Infinity]),
  );
  assertEquals(
    file.ints("i64"),
    new Int32Array([0, 1, -2147483648, 2147483647]),
  );
  assertEquals(file.floats("scalar"), new Float32Array([7]));
  assertEquals(file.floats("empty"), new Float32Array(0));
  assertEquals(file.tensors.get("f16")?.shape, [2, 4]);
  assertEquals(file.metadata.get("format"), "pt");
});

Deno.test("SafetensorsFile rejects a value or a type that it cannot convert", () => {
  using file = SafetensorsFile.open(fixture("types.safetensors"));
  assertIsError(
    assertThrows(() => file.ints("i64 too wide")),
    Error,
    /"i64 too wide".*2147483648/,
  );
  assertIsError(
    assertThrows(() => file.bytes("f32")),
    Error,
    /"f32".*type F32, expected U8/,
  );
  assertThrows(
    () => file.floats("f64"),
    Error,
    'no tensor "f64"',
  );
});

Deno.test("writeSafetensors() writes the bytes of the reference implementation", () => {
  const folder = Deno.makeTempDirSync();
  const path = join(folder, "layout.safetensors");
  writeSafetensors(path, {
    "types": { shape: [3], values: new Uint8Array([0, 1, 255]) },
    "0": { shape: [], values: new Float32Array([4]) },
    "b.weight": { shape: [1], values: new Float32Array([0.5]) },
    "offsets": { shape: [3], values: new Int32Array([0, 2, 5]) },
    "ids": { shape: [2, 2], values: new Int32Array([1, 2, 3, 4]) },
    "a.weight": { shape: [1, 3], values: new Float32Array([-1, 2, 3]) },
  }, { format: "pt" });
  assertEquals(
    Deno.readFileSync(path),
    Deno.readFileSync(fixture("layout.safetensors")),
  );
  assertEquals([...Deno.readDirSync(folder)].length, 1, "no partial file");
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("writeSafetensors() rejects a shape that does not fit its values", () => {
  assertThrows(
    () =>
      writeSafetensors(Deno.makeTempFileSync(), {
        weight: { shape: [2, 3], values: new Float32Array(5) },
      }),
    Error,
    '5 values as tensor "weight" of type F32 and shape [2,3]',
  );
});

Deno.test("writeSafetensors() and SafetensorsFile keep any tensor and any name", () => {
  const shape = fc.array(fc.nat(4), { maxLength: 3 });
  const tensor = fc.tuple(shape, fc.constantFrom("F32", "I32", "U8")).map(
    ([shape, dtype]) => {
      const count = shape.reduce((a, b) => a * b, 1);
      const bytes = Uint8Array.from({ length: count * 4 }, (_, i) => i * 37);
      const values = dtype === "U8"
        ? bytes.slice(0, count)
        : dtype === "I32"
        ? new Int32Array(bytes.buffer)
        : new Float32Array(bytes.buffer);
      return { shape, values };
    },
  );
  const name = fc.string({ unit: "grapheme" }).filter((n) =>
    n !== "__metadata__" && n !== "__proto__"
  );
  const path = Deno.makeTempFileSync();
  fc.assert(
    fc.property(fc.dictionary(name, tensor), (tensors) => {
      writeSafetensors(path, tensors);
      using file = SafetensorsFile.open(path);
      assertEquals(new Set(file.tensors.keys()), new Set(Object.keys(tensors)));
      for (const [name, { shape, values }] of Object.entries(tensors)) {
        const read = values instanceof Float32Array
          ? file.floats(name)
          : values instanceof Int32Array
          ? file.ints(name)
          : file.bytes(name);
        assertEquals(file.tensors.get(name)?.shape, shape);
        assertEquals(
          new Uint8Array(read.buffer),
          new Uint8Array(values.buffer),
        );
      }
    }),
    { numRuns: 50 },
  );
  Deno.removeSync(path);
});

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});
const data = new Uint8Array(8);

for (
  const [fault, bytes, message] of [
    [
      "an empty file",
      new Uint8Array(0),
      /not a safetensors file: it has only 0 bytes/,
    ],
    [
      "a header longer than the file",
      fileOf({}).with(6, 1),
      /not a safetensors file: its header claims \d+ bytes/,
    ],
    [
      "a header that is not an object",
      fileOf("[]"),
      /not a safetensors file: its header does not begin with "{"/,
    ],
    [
      "a header with a broken end",
      fileOf('{"a":'),
      /not a safetensors file: its header is not JSON/,
    ],
    [
      "a header that is not UTF-8",
      fileOf("{}").with(9, 0xff),
      /not a safetensors file: its header is not UTF-8/,
    ],
    [
      "a page of the web",
      new TextEncoder().encode("<!doctype html><title>Sign in</title>"),
      /not a safetensors file/,
    ],
    [
      "the same name twice",
      fileOf(
        `{"a":${JSON.stringify(f32(0, 4))}, "\\u0061" :${
          JSON.stringify(f32(4, 8))
        }}`,
        data,
      ),
      /"a".*hole/,
    ],
    ["a hole", fileOf({ a: f32(4, 8) }, data), /"a".*hole/],
    [
      "a hole between tensors",
      fileOf({ a: f32(0, 4), b: f32(8, 12) }, new Uint8Array(12)),
      /"b".*hole/,
    ],
    ["an overlap", fileOf({ a: f32(0, 8), b: f32(4, 8) }, data), /overlaps/],
    ["a truncated file", fileOf({ a: f32(0, 8) }, data.slice(4)), /truncated/],
    [
      "bytes that no tensor owns",
      fileOf({ a: f32(0, 4) }, data),
      /8 bytes of data/,
    ],
    [
      "a shape that is too small",
      fileOf({ a: f32(0, 8, [1]) }, data),
      /"a".*needs 4 bytes/,
    ],
    [
      "a shape beyond all memory",
      fileOf({ a: f32(0, 8, [2 ** 40, 2 ** 40]) }, data),
      /needs/,
    ],
    [
      "a negative size",
      fileOf({ a: f32(0, 8, [-2, -1]) }, data),
      /"a": .*>=0\n.*shape\[0\]/,
    ],
    [
      "a fractional size",
      fileOf({ a: f32(0, 8, [1.5]) }, data),
      /"a": .*expected int.*\n.*shape\[0\]/,
    ],
    ["offsets in reverse", fileOf({ a: f32(8, 0, [2]) }, data), /"a".*span -8/],
    [
      "an unknown dtype",
      fileOf({ a: { ...f32(0, 8), dtype: "F4" } }, data),
      /Unknown dtype "F4"/,
    ],
    [
      "an unknown field",
      fileOf({ a: { ...f32(0, 8), extra: 1 } }, data),
      /"a": .*key: "extra"/,
    ],
    [
      "a tensor that is not an object",
      fileOf({ a: null }, data),
      /"a": .*expected object, received null/,
    ],
    [
      "metadata that is not text",
      fileOf({ __metadata__: { a: 1 } }),
      /"__metadata__": .*expected string.*\n.*at a$/,
    ],
  ] as const
) {
  Deno.test(`SafetensorsFile.open() rejects ${fault}`, () => {
    assertRefused(bytes, message);
  });
}

Deno.test("SafetensorsFile.open() refuses a folder and a pipe, for which it would wait", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const pipe = `${folder}/pipe`;
    new Deno.Command("mkfifo", { args: [pipe] }).outputSync();
    for (const path of [folder, pipe]) {
      assertThrows(
        () => SafetensorsFile.open(path),
        SyntaxError,
        `Cannot read "${path}": it is not a file`,
      );
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("SafetensorsFile.floats() reads into a given array, and rejects one of another size", () => {
  const path = Deno.makeTempFileSync();
  try {
    writeSafetensors(path, {
      x: { shape: [2, 2], values: Float32Array.of(1, 2, 3, 4) },
    });
    using file = SafetensorsFile.open(path);
    const into = new Float32Array(6);
    file.floats("x", into.subarray(1, 5));
    assertEquals(into, Float32Array.of(0, 1, 2, 3, 4, 0));
    assertIsError(
      assertThrows(() => file.floats("x", into)),
      Error,
      /4 values.*room for 6/,
    );
  } finally {
    Deno.removeSync(path);
  }
});
