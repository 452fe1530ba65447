import { assert, assertEquals, assertMatch } from "@std/assert";
import { findNvidia, hasBfloat16 } from "../../../lib/engine/install/host.ts";
import { DRIVER, fakeHost, LIBCUDA } from "./fake_host.ts";

Deno.test("findNvidia() finds a kernel driver with its user-space library", () => {
  assertEquals(findNvidia(fakeHost({ files: { ...DRIVER, ...LIBCUDA } })), {
    usable: true,
    reason: "NVIDIA driver 550 found",
  });
});

Deno.test("findNvidia() reads the version of the open kernel module", () => {
  const version =
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (a@b)\n";
  const found = findNvidia(
    fakeHost({ files: { "/proc/driver/nvidia/version": version, ...LIBCUDA } }),
  );
  assertEquals(found.reason, "NVIDIA driver 570 found");
});

Deno.test("findNvidia() finds the driver of WSL, and a library through LD_LIBRARY_PATH or nvidia-smi", () => {
  const usable = (files: Record<string, string>, env = {}) =>
    findNvidia(fakeHost({ files, env })).usable;
  assert(usable({ "/dev/dxg": "", "/usr/lib/wsl/lib/libcuda.so.1": "" }));
  assert(usable({ ...DRIVER, "/opt/cuda/libcuda.so.1": "" }, {
    LD_LIBRARY_PATH: "/x:/opt/cuda",
  }));
  assert(usable({ "/dev/nvidiactl": "", "/usr/bin/nvidia-smi": "" }, {
    PATH: "/usr/bin",
  }));
});

Deno.test("findNvidia() says why CUDA cannot be used", () => {
  const reason = (files: Record<string, string>, env = {}) => {
    const finding = findNvidia(fakeHost({ files, env }));
    assertEquals(finding.usable, false);
    return finding.reason;
  };
  assertMatch(reason({}), /no NVIDIA driver found/);
  assertMatch(reason(LIBCUDA), /no NVIDIA driver found/);
  assertMatch(
    reason(DRIVER),
    /libcuda.so.1 is not \(start a container with --gpus all/,
  );
  const old = DRIVER["/proc/driver/nvidia/version"].replace(
    "550.54.15",
    "470.223.02",
  );
  assertMatch(
    reason({ "/proc/driver/nvidia/version": old, ...LIBCUDA }),
    /NVIDIA driver 470 is too old for CUDA 12, which requires 525/,
  );
});

Deno.test("findNvidia() respects CUDA_VISIBLE_DEVICES", () => {
  const usable = (value: string) =>
    findNvidia(
      fakeHost({
        files: { ...DRIVER, ...LIBCUDA },
        env: { CUDA_VISIBLE_DEVICES: value },
      }),
    ).usable;
  for (const value of ["", " ", "-1", "-1,0"]) {
    assertEquals(usable(value), false, value);
  }
  for (const value of ["0", "1,0", "GPU-8932f937", "0,-1"]) {
    assertEquals(usable(value), true, value);
  }
});

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

Deno.test("hasBfloat16() asks nvidia-smi for the compute capability", async () => {
  assertEquals(await hasBfloat16(GPU, fakeHost({ output: "9.0\n" })), true);
  assertEquals(
    await hasBfloat16(GPU, fakeHost({ output: "7.5\n8.0\n" })),
    false,
  );
  assertEquals(await hasBfloat16(GPU, fakeHost()), false);
});

Deno.test("hasBfloat16() is false for the other engines", async () => {
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
