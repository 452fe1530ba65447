import { assertEquals, assertMatch } from "@std/assert";
import { visibleGpus } from "../../lib/scheduler/settings.ts";
import { holdGpus } from "../../lib/scheduler/limits.ts";

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
  const onWait = (holders: string) => waits.push(holders);
  const holder = new Deno.Command("flock", {
    args: [`/tmp/dylora-gpus/gpu-${id}`, "sh", "-c", "echo held; sleep 0.5"],
    stdout: "piped",
  });
  (await holdGpus({ ...wanted, onWait }))[Symbol.dispose]();
  const other = holder.spawn();
  const reader = other.stdout.getReader();
  await reader.read();
  using held = await holdGpus({ ...wanted, onWait });
  assertEquals(held.ids, [id]);
  assertEquals(waits.length, 1);
  assertMatch(waits[0]!, new RegExp(`\\(GPU ${id}\\)$`));
  await reader.cancel();
  await other.status;
  Deno.removeSync(`/tmp/dylora-gpus/gpu-${id}`);
});
