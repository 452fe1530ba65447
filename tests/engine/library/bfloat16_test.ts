import { assertEquals } from "@std/assert";
import { hasBfloat16 } from "../../../lib/engine/library/bfloat16.ts";
import { fakeHost } from "./fake_host.ts";

const CPU = { engine: "tensorflow", device: "cpu" } as const;
const GPU = { engine: "tensorflow", device: "gpu" } as const;

function processor(line: string) {
  return fakeHost({
    files: { "/proc/cpuinfo": `processor\t: 0\n${line}\nbogomips\t: 1\n` },
  });
}

Deno.test("hasBfloat16() reads the processor's flags", async () => {
  assertEquals(
    await hasBfloat16(CPU, processor("flags\t\t: fpu avx512f avx512_bf16 sse")),
    true,
  );
  assertEquals(
    await hasBfloat16(CPU, processor("flags\t\t: fpu amx_bf16")),
    true,
  );
  assertEquals(
    await hasBfloat16(CPU, processor("Features\t: fp asimd i8mm bf16 dgh")),
    true,
  );
  assertEquals(
    await hasBfloat16(CPU, processor("flags\t\t: fpu avx2 avx512f")),
    false,
  );
  assertEquals(
    await hasBfloat16(CPU, processor("Features\t: fp asimd ebf16x")),
    false,
  );
  assertEquals(await hasBfloat16(CPU, fakeHost()), false);
});

Deno.test("hasBfloat16() asks the NVIDIA driver for the GPU's generation", async () => {
  assertEquals(await hasBfloat16(GPU, fakeHost({ output: "9.0\n" })), true);
  assertEquals(
    await hasBfloat16(GPU, fakeHost({ output: "7.5\n8.0\n" })),
    false,
  );
  assertEquals(await hasBfloat16(GPU, fakeHost()), false);
});

Deno.test("hasBfloat16() is false for the engines that have none", async () => {
  const host = processor("flags\t\t: avx512_bf16");
  assertEquals(
    await hasBfloat16({ engine: "wasm", device: "cpu" }, host),
    false,
  );
  assertEquals(
    await hasBfloat16(
      { engine: "webgpu", device: "gpu" },
      fakeHost({ output: "9.0" }),
    ),
    false,
  );
});
