import { assertEquals } from "@std/assert";
import { isLocked, lockFile, tryLockFile } from "../../lib/files/locks.ts";
import { TemporaryFolder } from "./temporary_folder.ts";

Deno.test("lockFile() names who holds the lock, but not who asks whether it is held", async () => {
  using folder = new TemporaryFolder();
  const path = folder.join("lock");
  const holders: string[] = [];
  const take = () =>
    lockFile(path, { onWait: (holder) => holders.push(holder) });
  // As isLocked() does, for a moment.
  const asking = tryLockFile(path, { shared: true })!;
  assertEquals(isLocked(path), false);
  const taking = take();
  asking[Symbol.dispose]();
  const taken = await taking;
  assertEquals(holders, []);
  const next = take();
  assertEquals(isLocked(path), true);
  taken[Symbol.dispose]();
  (await next)[Symbol.dispose]();
  assertEquals(holders, [`process ${Deno.pid}`]);
});

Deno.test({
  name: "isLocked() needs no right to write the file of another user's lock",
  permissions: { read: true, write: false },
  fn() {
    const path = import.meta.filename!;
    {
      using file = Deno.openSync(path);
      file.lockSync(true);
      assertEquals(isLocked(path), true);
    }
    assertEquals(isLocked(path), false);
  },
});
