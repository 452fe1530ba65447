import { assertEquals, assertIsError, assertThrows } from "@std/assert";
import fc from "fast-check";
import { createHash } from "node:crypto";
import {
  canonicalJson,
  digest,
  digestFile,
  quickChecksum,
} from "../../lib/files/digest.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

const expected = (data: string | Uint8Array) =>
  createHash("sha256").update(data).digest("hex");

Deno.test("digest() is the SHA-256 of bytes, of a view of a larger buffer, and of text as UTF-8", async () => {
  const view = new Uint8Array(200).fill(7).subarray(13, 113);
  for (const data of [new Uint8Array(), view, "", "text", "é\u{1f600}"]) {
    assertEquals(await digest(data), expected(data));
  }
});

Deno.test("digestFile() equals digest() below and above the size of a chunk", async () => {
  using folder = new TemporaryFolder();
  for (const size of [0, 1, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 3 * 2 ** 20]) {
    const bytes = new Uint8Array(size).map((_, at) => at * 31 % 251);
    const path = folder.join("file");
    Deno.writeFileSync(path, bytes);
    assertEquals(await digestFile(path), { blob: expected(bytes), size });
  }
});

Deno.test("canonicalJson() writes JSON that parses to the same value", () => {
  fc.assert(fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
    const expected = JSON.parse(JSON.stringify(value));
    assertEquals(JSON.parse(canonicalJson(expected)), expected);
  }));
});

Deno.test("canonicalJson() does not depend on the order of keys", () => {
  fc.assert(fc.property(
    fc.uniqueArray(fc.tuple(fc.string(), fc.jsonValue()), {
      selector: ([name]) => name,
    }),
    (members) => {
      const forwards = Object.fromEntries(members);
      const backwards = Object.fromEntries(members.toReversed());
      assertEquals(canonicalJson(forwards), canonicalJson(backwards));
    },
  ));
});

Deno.test("canonicalJson() throws on values that JSON cannot represent, with their path", () => {
  for (const value of [NaN, Infinity, new Date(0), () => 1, 1n, undefined]) {
    assertIsError(
      assertThrows(() => canonicalJson({ list: [0, value] })),
      Error,
      /"\$\.list\[1\]" is .*, which JSON cannot represent/,
    );
  }
});

Deno.test("quickChecksum() differs when one character differs or two are swapped", () => {
  const seen = new Set<string>();
  const base = [..."abcdefghijklmnopqrstuvwxyz"];
  for (let at = 0; at < base.length; at++) {
    for (const put of ["0", "é", "", "ab"]) {
      seen.add(quickChecksum(base.with(at, put).join("")));
    }
    for (let other = 0; other < at; other++) {
      const swapped = base.with(at, base[other]!).with(other, base[at]!);
      seen.add(quickChecksum(swapped.join("")));
    }
  }
  assertEquals(seen.size, 26 * 4 + 26 * 25 / 2);
});
