import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { Given } from "../../lib/cli/arguments.ts";
import { engineRuntime } from "../../lib/cli/engine.ts";
import { UsageError } from "../../lib/cli/exit.ts";
import { gpusOf, settingsOf } from "../../lib/cli/options.ts";
import { visibleGpus } from "../../lib/scheduler/settings.ts";
import { holdGpus } from "../../lib/scheduler/limits.ts";

const given = (gpus: string) => new Given([], new Map([["gpus", [gpus]]]));
const NEVER = new AbortController().signal;

Deno.test("--gpus takes ids with blanks around them, and refuses one that stands twice", async () => {
  assertEquals(gpusOf(given(" 0, 1 ,GPU-x ")), ["0", "1", "GPU-x"]);
  assertEquals((await settingsOf(given("0, 1"))).limits.gpus, ["0", "1"]);
  assertEquals(gpusOf(given("none")), []);
  assertEquals(
    assertThrows(() => gpusOf(given("0,1, 0")), UsageError).message,
    'Option "--gpus" names GPU "0" twice',
  );
});

Deno.test("visibleGpus() counts a GPU once that CUDA_VISIBLE_DEVICES names twice", () => {
  const before = Deno.env.get("CUDA_VISIBLE_DEVICES");
  Deno.env.set("CUDA_VISIBLE_DEVICES", "0, 0,1,-1");
  try {
    assertEquals(visibleGpus(), ["0", "1"]);
  } finally {
    if (before === undefined) Deno.env.delete("CUDA_VISIBLE_DEVICES");
    else Deno.env.set("CUDA_VISIBLE_DEVICES", before);
  }
});

Deno.test("--gpus none makes auto choose the processor", async () => {
  const reasons: string[] = [];
  const engine = await engineRuntime(given("none"), (message) => {
    if (message.type === "engine") reasons.push(message.reason);
  }, NEVER)();
  assertEquals(engine.gpus, 0);
  assertEquals(engine.settings.device, "cpu");
  assertMatch(reasons[0]!, /hides every GPU/);
});

Deno.test("holdGpus() takes turns with whoever holds a GPU", async () => {
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
