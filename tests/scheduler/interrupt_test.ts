import { assert, assertEquals } from "@std/assert";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { taskCode } from "../../lib/scheduler/context.ts";
import { Store } from "../../lib/store/store.ts";
import { failAtPoints } from "../soak/fault_points.ts";
import { Random } from "../soak/random.ts";
import { TestProject } from "./project.ts";

/** Result of a promise that must not take longer than so many seconds. */
async function within<T>(seconds: number, work: Promise<T>): Promise<T> {
  const timeout = new AbortController();
  const late = sleep(seconds * 1000, undefined, { signal: timeout.signal })
    .then(() => {
      throw new Error(`Not done after ${seconds} s`);
    });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    timeout.abort();
  }
}

Deno.test("taskCode() ends when it is called for several tasks at once", async () => {
  using project = new TestProject();
  const modules = ["a", "b", "c"].map((name) => {
    project.task(name, `return ${JSON.stringify(name)};`);
    return pathToFileURL(project.path(`tasks/${name}.ts`)).href;
  });
  const found = await within(
    60,
    Promise.all(modules.map((module, i) =>
      taskCode(
        [module],
        project.folder,
        new Store(project.path(`out${i}/cache`)),
      )
    )),
  );
  assertEquals(
    found.map((code) => [...code.keys()]),
    modules.map((it) => [it]),
  );
});

Deno.test("run() ends in words when system calls on its output folder fail", async () => {
  const counts = await failAtPoints(new Random(15), 2);
  // Undefined without strace. A run may well survive a call that fails.
  const { failed = 0, ended = 0, succeeded = 0 } = counts ?? {};
  assert(counts === undefined || failed + ended + succeeded > 0);
});
