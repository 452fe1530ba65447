import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { visibleGpus } from "../../lib/scheduler/settings.ts";
import { gpuUuids, holdGpus } from "../../lib/scheduler/gpus.ts";
import { Store } from "../../lib/store/store.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";
import { withEnvironment } from "../environment.ts";

const NEVER = new AbortController().signal;

Deno.test("visibleGpus() lists a GPU once that CUDA_VISIBLE_DEVICES names twice", async () => {
  await withEnvironment({ CUDA_VISIBLE_DEVICES: "0, 0,1,-1" }, () => {
    assertEquals(visibleGpus(), ["0", "1"]);
  });
});

Deno.test("holdGpus() waits for another process that holds a GPU", async () => {
  using folder = new TemporaryFolder();
  const store = new Store(folder.join("cache"));
  const waits: string[] = [];
  const holder = new Deno.Command("flock", {
    args: [
      `${store.makeFolder("locks")}/gpu-a`,
      "sh",
      "-c",
      "echo held; read -r _",
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = holder.stdout.getReader();
  await reader.read();
  const onWait = (holders: string) => {
    waits.push(holders);
    holder.stdin.close();
  };
  const wanted = { count: 1, among: ["a"], signal: NEVER, onWait };
  using held = await holdGpus(store, wanted);
  assertEquals(held.ids, ["a"]);
  assertEquals(waits, ["another process (GPU a)"]);
  await reader.cancel();
  await holder.status;
});

Deno.test("holdGpus() locks a GPU by its UUID, whatever it is called", async () => {
  using folder = new TemporaryFolder();
  const store = new Store(folder.join("cache"));
  const first = "GPU-04000000-0000-0000-0000-000000000000";
  const second = "GPU-65000000-0000-0000-0000-000000000000";
  const program = `#!/bin/sh\nprintf '${first}\\n${second}\\n'\n`;
  Deno.writeTextFileSync(folder.join("nvidia-smi"), program, { mode: 0o755 });
  const PATH = `${folder.path}:${Deno.env.get("PATH")}`;
  const uuids = await withEnvironment({ PATH }, gpuUuids);
  assertEquals(uuids, [first, second]);
  const hold = async (count: number, ...among: string[]) => {
    const wanted = { count, among, signal: NEVER, onWait() {} };
    using held = await holdGpus(store, wanted, uuids);
    return held.ids;
  };
  for (const name of ["1", "GPU-65", second]) {
    assertEquals(await hold(1, name), [second]);
  }
  assertEquals(await hold(1, "7"), ["7"]);
  assertEquals(
    [...Deno.readDirSync(store.path("locks"))].map(({ name }) => name).sort(),
    ["gpu-7", `gpu-${second}`],
  );
  const error = await assertRejects(() => hold(2, "1", "GPU-65"), Error);
  assertMatch(error.message, /^2 GPUs are needed, but 1 can be used/);
});
