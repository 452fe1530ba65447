import { assertEquals } from "@std/assert";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { digest, digestFile } from "../../lib/store/digest.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

const expected = (data: string | Uint8Array) =>
  createHash("sha256").update(data).digest("hex");

Deno.test("digest() is the SHA-256 that Node computes, of bytes of any length", () => {
  for (let length = 0; length <= 300; length++) {
    const bytes = Uint8Array.from({ length }, (_, at) => at * 37 + length);
    assertEquals(digest(bytes), expected(bytes), `${length} bytes`);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5_000 }), (bytes) => {
      assertEquals(digest(bytes), expected(bytes));
    }),
  );
});

Deno.test("digest() takes a view of a larger buffer, and text as UTF-8", () => {
  const view = new Uint8Array(200).fill(7).subarray(13, 113);
  assertEquals(digest(view), expected(view));
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      assertEquals(digest(text), expected(text));
    }),
  );
});

Deno.test("digestFile() is the same on both sides of the size that is read at once", async () => {
  using folder = new TemporaryFolder();
  for (const size of [0, 1, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 3 * 2 ** 20]) {
    const bytes = new Uint8Array(size).map((_, at) => at * 31 % 251);
    const path = folder.join("file");
    Deno.writeFileSync(path, bytes);
    using copy = await Deno.open(folder.join("copy"), {
      write: true,
      create: true,
      truncate: true,
    });
    assertEquals(await digestFile(path, copy), {
      blob: expected(bytes),
      size,
    });
    assertEquals(Deno.readFileSync(folder.join("copy")), bytes);
  }
});
