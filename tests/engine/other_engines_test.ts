import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { webgpuAdapter } from "../../lib/engine/backends/webgpu_adapter.ts";

const files = ["encoder", "fine_tuning", "official_layer", "training_step"]
  .map((name) => fileURLToPath(new URL(`./${name}_test.ts`, import.meta.url)));

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
    name:
      `engine "${engine}" passes the tests of the encoder, fine-tuning, the official layer and the training step`,
    ignore,
    async fn() {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["test", "-A", "--no-check", ...flags, ...files],
        env: { DYLORA_TEST_ENGINE: engine, NO_COLOR: "1" },
      }).output();
      const text = new TextDecoder().decode(stdout) +
        new TextDecoder().decode(stderr);
      assert.equal(code, 0, text);
      assert.match(text, /ok \| \d\d+ passed \| 0 failed/);
    },
  });
}
