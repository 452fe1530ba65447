import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { fileURLToPath } from "node:url";
import { parseModel } from "../../../lib/engine/models/registry.ts";
import { SafetensorsFile } from "../../../lib/engine/safetensors/reader.ts";
import {
  mutatedBytes,
  mutatedJson,
  mutatedText,
  survives,
  testProperty,
} from "../../fuzz.ts";

function fixture(path: string): string {
  return fileURLToPath(import.meta.resolve(`../../../fixtures/${path}`));
}

/** Opens a file and reads every tensor, whose bytes must be within the file. */
function readAll(path: string): void {
  const { size } = Deno.statSync(path);
  using file = SafetensorsFile.open(path);
  for (const [name, { dtype, shape, begin, end }] of file.tensors) {
    assert(0 <= begin && begin <= end && end <= size);
    const count = shape.reduce((product, dim) => product * dim, 1);
    if (["F32", "F16", "BF16"].includes(dtype)) {
      assertEquals(file.floats(name).length, count);
    } else if (dtype === "I32") assertEquals(file.ints(name).length, count);
    else if (dtype === "U8") assertEquals(file.bytes(name).length, count);
  }
}

async function withFile(test: (path: string) => Promise<void>) {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await test(path);
  } finally {
    await Deno.remove(path);
  }
}

/** A file with this header, valid or not, and this many bytes of data. */
function write(path: string, header: Uint8Array, dataBytes: number): void {
  const bytes = new Uint8Array(8 + header.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  Deno.writeFileSync(path, bytes);
}

const HEADER = {
  __metadata__: { format: "pt" },
  "a.weight": { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] },
  "b.bias": { dtype: "BF16", shape: [4], data_offsets: [24, 32] },
  "c.ids": { dtype: "I32", shape: [], data_offsets: [32, 36] },
};

const PIECES = fc.oneof(
  fc.constantFrom(
    ...'{ } [ ] " : , null -1 0 1e999 9007199254740993 36 \\u0000 \\ \0 __proto__ __metadata__ F32 F64 dtype shape data_offsets'
      .split(" "),
    '"a.weight":{},',
    "[".repeat(3000),
    '{"a":'.repeat(1000),
  ),
  fc.string({ maxLength: 5, unit: "binary" }),
);

testProperty(
  "SafetensorsFile.open() accepts or rejects any values in a header",
  () =>
    withFile((path) =>
      survives(mutatedJson(HEADER), path, (header) => {
        const text = JSON.stringify(header) ?? "";
        write(path, new TextEncoder().encode(text), 36);
        readAll(path);
      })
    ),
);

testProperty(
  "SafetensorsFile.open() accepts or rejects any text as a header",
  () =>
    withFile((path) =>
      survives(mutatedText(JSON.stringify(HEADER), PIECES), path, (text) => {
        write(path, new TextEncoder().encode(text), 36);
        readAll(path);
      })
    ),
);

testProperty(
  "SafetensorsFile.open() accepts or rejects a file with any damage",
  () =>
    withFile((path) =>
      survives(
        mutatedBytes(
          Deno.readFileSync(fixture("safetensors/types.safetensors")),
        ),
        path,
        (bytes) => {
          Deno.writeFileSync(path, bytes);
          try {
            readAll(path);
          } catch (error) {
            // A number too wide is no fault of the file.
            if (!(error instanceof RangeError)) throw error;
            assertMatch(error.message, /does not fit 32 bits/);
          }
        },
      )
    ),
);

const CONFIG = JSON.parse(
  Deno.readTextFileSync(fixture("tiny-roberta/config.json")),
);

testProperty(
  "parseModel() accepts or rejects any values",
  () =>
    survives(mutatedJson(CONFIG), "config.json", (config) => {
      const { hidden, maxLength } = parseModel(JSON.stringify(config) ?? "");
      assert(hidden % (config as typeof CONFIG).num_attention_heads === 0);
      assert(maxLength > 0);
    }),
);
