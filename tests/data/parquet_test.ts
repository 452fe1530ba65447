import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib";
import { parquetMetadata } from "hyparquet";
import { COMPRESSORS } from "../../lib/data/parquet.ts";
import { columnsOf, readTable, recordedClasses } from "../../lib/data/table.ts";
import { withFolder } from "../tasks/run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

Deno.test("COMPRESSORS take no memory for a page of Snappy that says it is longer than it can be", () => {
  const page = new Uint8Array(1000);
  const before = Deno.memoryUsage().external;
  assertThrows(
    () => COMPRESSORS.SNAPPY!(page, 2 ** 31 - 1),
    Error,
    "a page of 1000 bytes cannot unpack to 2147483647 bytes",
  );
  assert(Deno.memoryUsage().external - before < 2 ** 20);
});

Deno.test("COMPRESSORS refuse a literal of Snappy whose length of four bytes would be negative", () => {
  // Unpacked length 5, then a literal of 2^32 - 5 bytes.
  const page = Uint8Array.of(5, 63 << 2, 0xfa, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5);
  assertThrows(() => COMPRESSORS.SNAPPY!(page, 5), Error, "missing eof marker");
});

for (
  const [split, compression, from, to] of [
    ["train-00000-of-00002", "Snappy", 0, 20],
    ["train-00001-of-00002", "Zstandard", 20, 40],
    ["validation-00000-of-00001", "gzip", 40, 50],
  ] as const
) {
  Deno.test(`readTable() reads pages compressed with ${compression}, and refuses damaged ones`, async () => {
    const path = join(fixtures, "tiny-reviews/data", `${split}.parquet`);
    const rows = await readTable(path, ["text", "label"]);
    const lines = Deno.readTextFileSync(
      join(fixtures, "tiny-glue/SST-2/train.tsv"),
    ).split("\n").slice(1 + from, 1 + to).map((line) => line.split("\t"));
    assertEquals(
      rows.map(({ values: [text, label] }) => [text, Number(label)]),
      lines.map(([text, label]) => [text, Number(label)]),
    );
    assertEquals(await recordedClasses(path, "label"), ["worse", "better"]);
    assertEquals(await recordedClasses(path, "text"), undefined);
    const bytes = await Deno.readFile(path);
    bytes.fill(0, 60, 100);
    const damaged = await Deno.makeTempFile({ suffix: ".parquet" });
    await Deno.writeFile(damaged, bytes);
    await assertRejects(
      () => readTable(damaged, ["text"]),
      SyntaxError,
      `Cannot read "${damaged}" as parquet`,
    );
    await Deno.remove(damaged);
  });
}

Deno.test("readTable() makes no rows that the pages of a file do not have, and columnsOf() makes none", () =>
  withFolder(async (folder) => {
    const source = join(fixtures, "tiny-intents/train.parquet");
    const columns = ["text", "label"];
    assertEquals((await readTable(source, columns)).length, 50);
    for (
      const [rows, fault] of [
        [51n, 'it says it has 51 rows; its column "text" has 50'],
        [10n ** 6n, 'it says it has 1000000 rows; its column "text" has 50'],
        [10n ** 12n, "it has 1000000000000 rows, which do not fit into "],
      ] as const
    ) {
      const path = join(folder, `${rows}.parquet`);
      await Deno.writeFile(path, withRows(await Deno.readFile(source), rows));
      await assertRejects(
        () => readTable(path, columns),
        SyntaxError,
        `Cannot read "${path}" as parquet: ${fault}`,
      );
      assertEquals(await columnsOf(path), [...columns, "sent"]);
    }
  }));

Deno.test("readTable() gives a row for each row of a parquet file also if it reads none of its columns", async () => {
  const path = join(fixtures, "tiny-intents/train.parquet");
  assertEquals((await readTable(path, [])).length, 50);
  assertEquals((await readTable(path, [], ["absent"])).length, 50);
});

Deno.test("readTable() refuses a packed parquet file by its name", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a.parquet.gz");
    await Deno.writeTextFile(path, "");
    await assertRejects(
      () => readTable(path, ["text"]),
      SyntaxError,
      `"${path}" is not a supported table; its name must end in `,
    );
  }));

Deno.test("readTable() refuses a parquet file without metadata, and one that is too large to read", () =>
  withFolder(async (folder) => {
    const path = join(folder, "a.parquet");
    const marks = new TextEncoder().encode("PAR1\0\0\0\0PAR1");
    await Deno.writeFile(path, marks);
    const refused = (message: string) =>
      assertRejects(() => readTable(path, ["text"]), SyntaxError, message);
    await refused(`Cannot read "${path}" as parquet: its metadata are damaged`);
    await Deno.truncate(path, 40e9);
    await refused("has 40000000000 bytes; the maximum is 4000000000");
  }));

Deno.test("COMPRESSORS unpack no more than a page says it has", () => {
  const long = new Uint8Array(100_000);
  for (
    const [name, packed] of [
      ["GZIP", gzipSync(long)],
      ["BROTLI", brotliCompressSync(long)],
      ["ZSTD", zstdCompressSync(long)],
    ] as const
  ) {
    const unpack = COMPRESSORS[name]!;
    assertEquals(unpack(packed, long.length).length, long.length);
    assertThrows(() => unpack(packed, 100), Error, "larger than 100 bytes");
  }
});

Deno.test("COMPRESSORS unpack an empty page, as a column without values has it", () => {
  const empty = new Uint8Array();
  for (
    const [name, page] of [
      ["SNAPPY", Uint8Array.of(0)],
      ["GZIP", gzipSync(empty)],
      ["BROTLI", brotliCompressSync(empty)],
      ["ZSTD", zstdCompressSync(empty)],
    ] as const
  ) {
    assertEquals(COMPRESSORS[name]!(page, 0).length, 0, name);
  }
});

Deno.test("recordedClasses() gives no names of a file that records none", async () => {
  assertEquals(
    await recordedClasses(
      join(fixtures, "tiny-hub/rte/train-00000-of-00001.parquet"),
      "label",
    ),
    undefined,
  );
});

Deno.test("recordedClasses() refuses two names that differ in spaces only", async () => {
  const bytes = await Deno.readFile(
    join(fixtures, "tiny-intents/train.parquet"),
  );
  const at = Buffer.from(bytes).indexOf('" card lost"');
  bytes.set(new TextEncoder().encode('"intent 11 "'), at);
  const path = await Deno.makeTempFile({ suffix: ".parquet" });
  await Deno.writeFile(path, bytes);
  await assertRejects(
    () => recordedClasses(path, "label"),
    SyntaxError,
    `"${path}" records the class "intent 11" of the column "label" twice`,
  );
  await Deno.remove(path);
});

/** A parquet file whose metadata say that it has another number of rows, wherever they say it. */
function withRows(file: Uint8Array<ArrayBuffer>, rows: bigint): Uint8Array {
  const size = parquetMetadata(file.buffer).metadata_length;
  const start = file.length - 8 - size;
  const found = numberField(parquetMetadata(file.buffer).num_rows);
  const footer = Buffer.from(file.subarray(start, start + size))
    .toString("latin1").replaceAll(found, numberField(rows));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, footer.length, true);
  return Buffer.concat([
    file.subarray(0, start),
    Buffer.from(footer, "latin1"),
    length,
    file.subarray(-4),
  ]);
}

/** The next field of a struct in Thrift's compact protocol, a positive number of 64 bits. */
function numberField(value: bigint): string {
  const bytes = [0x16];
  let rest = value * 2n;
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return String.fromCharCode(...bytes, Number(rest));
}
