import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { Arguments } from "../../../lib/cli/arguments/arguments.ts";
import { selectedEngine } from "../../../lib/cli/runtime/engine.ts";
import { thisHost } from "../../../lib/engine/install/host.ts";

Deno.test("selectedEngine() selects the CPU with --gpus none, and says why", async () => {
  const reasons: string[] = [];
  const args = new Arguments([], new Map([["gpus", ["none"]]]));
  const engine = await selectedEngine(args, {
    say(message) {
      if (message.type === "engine") reasons.push(message.reason);
    },
  })();
  assertEquals(engine.gpus, 0);
  assertEquals(engine.settings.device, "cpu");
  assertMatch(reasons[0]!, /hides every GPU/);
});

Deno.test("selectedEngine() tells processors apart whose instruction sets select other kernels", async () => {
  const identity = async (flags: string) => {
    const args = new Arguments(
      [],
      new Map([["engine", ["tensorflow"]], ["gpus", ["none"]]]),
    );
    const runtime = await selectedEngine(args, {
      say() {},
      findHost: () =>
        Promise.resolve({
          ...thisHost,
          target: "x86_64-unknown-linux-gnu",
          env: (name) =>
            name === "CUDA_VISIBLE_DEVICES" ? "" : thisHost.env(name),
          read: (path) =>
            path === "/proc/cpuinfo"
              ? `flags\t\t: fpu ${flags}\n`
              : thisHost.read(path),
        }),
    })();
    return runtime.identity;
  };
  const wide = await identity("avx avx2 fma avx512f");
  assertMatch(wide, /^tensorflow .* avx avx2 fma avx512f$/);
  assertNotEquals(await identity("avx avx2 fma"), wide);
  assertEquals(await identity("avx avx2 fma avx512f rtm"), wide);
});
