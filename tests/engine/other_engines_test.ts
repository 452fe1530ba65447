import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { webgpuAdapter } from "../../lib/engine/backends/webgpu_adapter.ts";

/** Tests of what every engine computes; WebGPU in software takes too long for the rest. */
const files = ["encoder", "fine_tuning", "official_layer", "training_step"];
const all = [
  ...files,
  ...["epoch_selection", "fused", "matryoshka", "module_ranks", "savings"],
  "train",
];

for (
  const { engine, flags, names, ignore } of [
    { engine: "wasm", flags: [], names: all, ignore: false },
    {
      engine: "webgpu",
      flags: ["--unstable-webgpu"],
      names: files,
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
      assert.equal(code, 0, text);
      assert.match(text, /ok \| \d\d+ passed \| 0 failed/);
    },
  });
}

function pathOf(name: string): string {
  return fileURLToPath(new URL(`./${name}_test.ts`, import.meta.url));
}
