import { assertEquals, assertRejects } from "@std/assert";
import { digest } from "../../lib/files/digest.ts";
import { Memo } from "../../lib/store/memo.ts";
import { Stats } from "../../lib/store/stats.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

Deno.test("Stats.digest() notices a file replaced within the same second, with the same size and mtime", async () => {
  using folder = new TemporaryFolder();
  const file = folder.write("a.txt", "one");
  const path = folder.join("memo.json");
  const memo = new Memo(path);
  const stats = new Stats(memo);
  const { atime, mtime } = Deno.statSync(file);
  assertEquals(await stats.digest(file), await digest("one"));
  await memo.save();
  for (const text of ["two", "six", "ten"]) {
    Deno.writeTextFileSync(file, text);
    Deno.utimeSync(file, atime!, mtime!);
    assertEquals(await stats.digest(file), await digest(text));
    assertEquals(
      await new Stats(new Memo(path)).digest(file),
      await digest(text),
    );
  }
});

Deno.test("Stats.digest() notices an old file replaced by another of the same size and mtime", async () => {
  using folder = new TemporaryFolder();
  const old = new Date("2020-01-01T00:00:00Z");
  const file = folder.write("a.txt", "one");
  Deno.utimeSync(file, old, old);
  const stats = new Stats(new Memo(folder.join("memo.json")));
  assertEquals(await stats.digest(file), await digest("one"));
  const other = folder.write("b.txt", "two");
  Deno.utimeSync(other, old, old);
  Deno.renameSync(other, file);
  assertEquals(await stats.digest(file), await digest("two"));
});

Deno.test("Stats.digest() notices a replaced file whose mtime is in the future", async () => {
  using folder = new TemporaryFolder();
  const future = new Date(Date.now() + 3_600_000);
  const file = folder.write("a.txt", "one");
  Deno.utimeSync(file, future, future);
  const stats = new Stats(new Memo(folder.join("memo.json")));
  assertEquals(await stats.digest(file), await digest("one"));
  Deno.writeTextFileSync(file, "two");
  Deno.utimeSync(file, future, future);
  assertEquals(await stats.digest(file), await digest("two"));
});

Deno.test("Stats.digest() does not read a file again that changed long ago", async () => {
  using folder = new TemporaryFolder();
  const path = folder.join("memo.json");
  // This file changed long ago, so its entry is trusted.
  const file = Deno.execPath();
  const first = await new Stats(new Memo(path)).digest(file);
  const memo = new Memo(path);
  const stats = new Stats(memo);
  await stats.digest(file);
  await memo.save();
  const { open } = Deno;
  Deno.open = () => Promise.reject(new Error("It is read"));
  try {
    assertEquals(await new Stats(new Memo(path)).digest(file), first);
    const empty = new Stats(new Memo(folder.join("other.json")));
    await assertRejects(() => empty.digest(file), Error, "It is read");
  } finally {
    Deno.open = open;
  }
});

Deno.test("Stats starts empty when its file is damaged", async () => {
  using folder = new TemporaryFolder();
  const file = folder.write("a.txt", "one");
  // The ctime of a blob does not count, so its digest is remembered at once.
  Deno.utimeSync(file, 0, 0);
  const path = folder.join("memo.json");
  const memo = new Memo(path);
  const stats = new Stats(memo);
  await stats.digest(file, "blob");
  await memo.save();
  const text = Deno.readTextFileSync(path);
  const [one, two] = [await digest("one"), await digest("two")];
  for (const damage of [text.replace(one, two), "{", ""]) {
    Deno.writeTextFileSync(path, damage);
    assertEquals(await new Stats(new Memo(path)).digest(file, "blob"), one);
  }
});
