import { assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { webgpuAdapter } from "../../lib/engine/install/probe.ts";

/**
 * Tests of what every engine computes; they ignore what an engine does not have
 * or has no time for (`engine.ts`).
 */
const names = [
  ...["models/architectures", "models/classifier"],
  ...["models/target_modules", "models/tensor_pass", "schedules/dylora"],
  ...["schedules/full_and_head", "schedules/matryoshka", "ops/fused"],
  ...["ops/official_layer", "training/epoch_selection"],
  ...["training/evaluation", "training/fit_head", "training/step"],
];

for (
  const { engine, flags, ignore } of [
    { engine: "wasm", flags: [], ignore: false },
    {
      engine: "webgpu",
      flags: ["--unstable-webgpu"],
      ignore: await webgpuAdapter() === undefined,
    },
  ]
) {
  Deno.test({
    name: `engine "${engine}" passes the tests of what every engine computes`,
    ignore,
    async fn() {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["test", "-A", "--no-check", ...flags, ...names.map(pathOf)],
        env: { DYLORA_TEST_ENGINE: engine, NO_COLOR: "1" },
      }).output();
      const text = new TextDecoder().decode(stdout) +
        new TextDecoder().decode(stderr);
      assertEquals(code, 0, text);
      assertMatch(text, /ok \| \d\d+ passed \| 0 failed/);
    },
  });
}

function pathOf(name: string): string {
  return fileURLToPath(new URL(`../engine/${name}_test.ts`, import.meta.url));
}
