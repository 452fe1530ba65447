import assert from "node:assert/strict";
import { Given } from "../../lib/cli/arguments.ts";
import { engineRuntime } from "../../lib/cli/engine.ts";
import { gpusOf, settingsOf } from "../../lib/cli/options.ts";
import { visibleGpus } from "../../lib/scheduler/settings.ts";
import { holdGpus } from "../../lib/scheduler/limits.ts";

const given = (gpus: string) => new Given([], new Map([["gpus", [gpus]]]));
const NEVER = new AbortController().signal;

Deno.test("--gpus takes ids with blanks around them, and refuses one that stands twice", async () => {
  assert.deepEqual(gpusOf(given(" 0, 1 ,GPU-x ")), ["0", "1", "GPU-x"]);
  assert.deepEqual((await settingsOf(given("0, 1"))).limits.gpus, ["0", "1"]);
  assert.deepEqual(gpusOf(given("none")), []);
  assert.throws(() => gpusOf(given("0,1, 0")), {
    name: "UsageError",
    message: 'Option "--gpus" names GPU "0" twice',
  });
});

Deno.test("visibleGpus() counts a GPU once that CUDA_VISIBLE_DEVICES names twice", () => {
  const before = Deno.env.get("CUDA_VISIBLE_DEVICES");
  Deno.env.set("CUDA_VISIBLE_DEVICES", "0, 0,1,-1");
  try {
    assert.deepEqual(visibleGpus(), ["0", "1"]);
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
  assert.equal(engine.gpus, 0);
  assert.equal(engine.settings.device, "cpu");
  assert.match(reasons[0]!, /hides every GPU/);
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
  assert.deepEqual(held.ids, [id]);
  assert.equal(waits.length, 1);
  assert.match(waits[0]!, new RegExp(`\\(GPU ${id}\\)$`));
  await reader.cancel();
  await other.status;
  Deno.removeSync(`/tmp/dylora-gpus/gpu-${id}`);
});
