import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { visibleGpus } from "../../lib/scheduler/settings.ts";
import { gpuUuids, holdGpus, lockFolder } from "../../lib/scheduler/gpus.ts";

const NEVER = new AbortController().signal;

Deno.test("visibleGpus() lists a GPU once that CUDA_VISIBLE_DEVICES names twice", () => {
  const before = Deno.env.get("CUDA_VISIBLE_DEVICES");
  Deno.env.set("CUDA_VISIBLE_DEVICES", "0, 0,1,-1");
  try {
    assertEquals(visibleGpus(), ["0", "1"]);
  } finally {
    if (before === undefined) Deno.env.delete("CUDA_VISIBLE_DEVICES");
    else Deno.env.set("CUDA_VISIBLE_DEVICES", before);
  }
});

Deno.test("holdGpus() waits for another process that holds a GPU", async () => {
  const id = crypto.randomUUID();
  const wanted = { count: 1, among: [id], signal: NEVER };
  const waits: string[] = [];
  let letGo = () => {};
  const onWait = (holders: string) => {
    waits.push(holders);
    letGo();
  };
  const holder = new Deno.Command("flock", {
    args: [`${lockFolder()}/gpu-${id}`, "sh", "-c", "echo held; read -r _"],
    stdin: "piped",
    stdout: "piped",
  });
  (await holdGpus({ ...wanted, onWait }))[Symbol.dispose]();
  const other = holder.spawn();
  letGo = () => void other.stdin.close();
  const reader = other.stdout.getReader();
  await reader.read();
  using held = await holdGpus({ ...wanted, onWait });
  assertEquals(held.ids, [id]);
  assertEquals(waits.length, 1);
  assertMatch(waits[0]!, new RegExp(`\\(GPU ${id}\\)$`));
  await reader.cancel();
  await other.status;
  Deno.removeSync(`${lockFolder()}/gpu-${id}`);
});

/** Calls a function with a folder, which DYLORA_GPU_LOCKS names in the meantime. */
async function withLocks(body: (folder: string) => Promise<void> | void) {
  const folder = Deno.makeTempDirSync({ prefix: "locks-" });
  const before = Deno.env.get("DYLORA_GPU_LOCKS");
  Deno.env.set("DYLORA_GPU_LOCKS", join(folder, "locks"));
  try {
    await body(folder);
  } finally {
    if (before === undefined) Deno.env.delete("DYLORA_GPU_LOCKS");
    else Deno.env.set("DYLORA_GPU_LOCKS", before);
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("holdGpus() changes no file to which another user's link in the shared folder leads, and refuses a pipe there", async () => {
  await withLocks(async (folder) => {
    const victim = join(folder, "thesis.tex");
    Deno.writeTextFileSync(victim, "years of work");
    Deno.mkdirSync(join(folder, "locks"));
    Deno.chmodSync(join(folder, "locks"), 0o1777);
    Deno.symlinkSync(victim, join(folder, "locks/gpu-0"));
    Deno.linkSync(victim, join(folder, "locks/gpu-1"));
    const pipe = join(folder, "locks/gpu-2");
    new Deno.Command("mkfifo", { args: [pipe] }).outputSync();
    for (const id of ["0", "1", "2"]) {
      const error = await assertRejects(
        () =>
          holdGpus(
            { count: 1, among: [id], signal: NEVER, onWait() {} },
            [],
          ),
        Error,
      );
      assertMatch(
        error.message,
        /locks\/gpu-\d" is (a link to another|not a) file/,
      );
    }
    assertEquals(Deno.readTextFileSync(victim), "years of work");
  });
});

Deno.test("lockFolder() is private to the user unless a shared one is made", () => {
  const runtime = Deno.makeTempDirSync();
  const env = (name: string) =>
    name === "XDG_RUNTIME_DIR" ? runtime : undefined;
  const folder = lockFolder(env);
  assertEquals(folder, join(runtime, "dylora-gpus"));
  assertEquals(Deno.statSync(folder).mode! & 0o777, 0o700);
  Deno.removeSync(runtime, { recursive: true });
});

Deno.test("holdGpus() locks a GPU by its UUID, whatever it is called", async () => {
  await withLocks(async (folder) => {
    Deno.mkdirSync(join(folder, "locks"));
    const [first, second] = ["04", "65"].map((start) =>
      `GPU-${start}000000-0000-0000-0000-000000000000`
    );
    const program = `#!/bin/sh\nprintf '${first}\\n${second}\\n'\n`;
    Deno.writeTextFileSync(join(folder, "nvidia-smi"), program, {
      mode: 0o755,
    });
    const before = Deno.env.get("PATH")!;
    Deno.env.set("PATH", `${folder}:${before}`);
    const uuids = await gpuUuids();
    Deno.env.set("PATH", before);
    assertEquals(uuids, [first!, second!]);
    const hold = async (count: number, ...among: string[]) => {
      const wanted = { count, among, signal: NEVER, onWait() {} };
      using held = await holdGpus(wanted, uuids);
      return held.ids;
    };
    for (const name of ["1", "GPU-65", second!]) {
      assertEquals(await hold(1, name), [second!]);
    }
    assertEquals(await hold(1, "7"), ["7"]);
    assertEquals(
      [...Deno.readDirSync(join(folder, "locks"))].map(({ name }) => name)
        .sort(),
      ["gpu-7", `gpu-${second}`],
    );
    const error = await assertRejects(
      () => hold(2, "1", "GPU-65"),
      Error,
    );
    assertMatch(error.message, /^2 GPUs are needed, but 1 can be used/);
  });
});
