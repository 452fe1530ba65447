import { assert, assertEquals } from "@std/assert";
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
  name:
    "a lock that was released is free at once, while other threads start processes",
  ignore: Deno.build.os === "windows",
  async fn() {
    using folder = new TemporaryFolder();
    const path = folder.join("lock");
    // Tells after its first process that it goes on.
    const code = `
      const start = () => new Deno.Command("true").outputSync();
      start();
      postMessage("started");
      for (;;) start();`;
    const url = `data:application/javascript,${encodeURIComponent(code)}`;
    const worker = new Worker(url, { type: "module" });
    try {
      await new Promise((resolve) => worker.onmessage = resolve);
      for (let i = 0; i < 1000; i++) {
        const lock = tryLockFile(path);
        assert(lock !== undefined, `held after ${i} releases`);
        lock[Symbol.dispose]();
      }
    } finally {
      worker.terminate();
    }
  },
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
      // Closing it would not do while a thread starts a process.
      file.unlockSync();
    }
    assertEquals(isLocked(path), false);
  },
});
