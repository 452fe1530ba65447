import { assertEquals, assertRejects } from "@std/assert";
import { listFiles } from "../../lib/store/blobs.ts";
import { digest } from "../../lib/files/digest.ts";
import { Store } from "../../lib/store/store.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

/** A store with one blob. */
async function storeWith(folder: TemporaryFolder, text: string) {
  const { blobs } = new Store(folder.join("cache"));
  return { blobs, ...await blobs.put(folder.write("a.txt", text)) };
}

Deno.test("Blobs.put() stores a read-only copy under its digest", async () => {
  using folder = new TemporaryFolder();
  const { blobs, blob, size } = await storeWith(folder, "text");
  assertEquals(blob, await digest("text"));
  assertEquals(size, 4);
  folder.write("a.txt", "edited");
  assertEquals(await blobs.text(blob), "text");
  assertEquals(Deno.statSync(blobs.path(blob)).mode! & 0o777, 0o444);
  assertEquals([...Deno.readDirSync(blobs.folder)].map(({ name }) => name), [
    blob.slice(0, 2),
  ], "no temporary file is left");
});

Deno.test("Blobs.putAll() stores files in the order given, equal ones once, and throws when one is missing", async () => {
  using folder = new TemporaryFolder();
  const { blobs } = new Store(folder.join("cache"));
  const paths = Array.from({ length: 20 }, (_, i) => folder.join(`f${i}`));
  paths.forEach((path, i) => Deno.writeTextFileSync(path, String(i % 15)));
  const stored = await blobs.putAll(paths);
  assertEquals(
    await Promise.all(stored.map(({ blob }) => blobs.text(blob))),
    paths.map((_, i) => String(i % 15)),
  );
  await assertRejects(
    () => blobs.putAll([paths[0]!, folder.join("none"), paths[1]!]),
    Deno.errors.NotFound,
  );
  assertEquals(
    listFiles(blobs.folder, "refuse").length,
    15,
    "no temporary files are left",
  );
});

Deno.test("Blobs.holds() is false when a blob is truncated, changed or missing", async () => {
  using folder = new TemporaryFolder();
  const { blobs, blob } = await storeWith(folder, "text");
  assertEquals(await blobs.holds(blob), true);
  Deno.chmodSync(blobs.path(blob), 0o644);
  for (const damage of ["tex", "Text", ""]) {
    Deno.writeTextFileSync(blobs.path(blob), damage);
    assertEquals(await blobs.holds(blob), false, damage);
    assertEquals(await blobs.text(blob), undefined);
  }
  blobs.remove(blob);
  assertEquals(await blobs.holds(blob), false);
});

Deno.test("Blobs.put() replaces a damaged blob", async () => {
  using folder = new TemporaryFolder();
  const { blobs, blob } = await storeWith(folder, "text");
  Deno.chmodSync(blobs.path(blob), 0o644);
  Deno.writeTextFileSync(blobs.path(blob), "Text");
  await blobs.put(folder.join("a.txt"));
  assertEquals(await blobs.holds(blob), true);
});

Deno.test("Blobs.copyTo() makes a file that can be edited without changing the blob", async () => {
  using folder = new TemporaryFolder();
  const { blobs, blob } = await storeWith(folder, "text");
  await blobs.copyTo(blob, folder.join("copy"));
  const { mode } = Deno.statSync(folder.join("copy"));
  assertEquals(mode! & 0o200, 0o200);
  Deno.writeTextFileSync(folder.join("copy"), "edit");
  assertEquals(await blobs.holds(blob), true);
});
