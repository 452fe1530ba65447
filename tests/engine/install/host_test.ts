import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  findNvidia,
  hasBfloat16,
  instructionsOf,
  machineOf,
} from "../../../lib/engine/install/host.ts";
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

Deno.test("instructionsOf() reads the instruction sets that select kernels, and hasBfloat16() those that multiply bfloat16", async () => {
  for (
    const [line, instructions, bfloat16] of [
      ["flags\t\t: fpu avx512f avx512_bf16 sse", "avx512f avx512_bf16", true],
      ["flags\t\t: fpu amx_bf16", "amx_bf16", true],
      [
        "vendor_id\t: GenuineIntel\nflags\t\t: avx512_bf16 amx_bf16",
        "avx512_bf16 amx_bf16",
        true,
      ],
      [
        "vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16",
        "avx512f avx512_bf16 slow_bf16",
        false,
      ],
      ["Features\t: fp asimd i8mm bf16 dgh", "i8mm bf16", true],
      ["flags\t\t: fpu fma avx avx2 avx512f", "avx avx2 fma avx512f", false],
      ["Features\t: fp asimd ebf16x", "", false],
      ["vendor_id\t: bf16", "", false],
    ] as const
  ) {
    const found = await instructionsOf(CPU, processor(line));
    assertEquals([found, hasBfloat16(found)], [instructions, bfloat16], line);
  }
  assertEquals(await instructionsOf(CPU, fakeHost()), "");
});

Deno.test("machineOf() names the processor or the GPUs that compute, or else the target", async () => {
  const cpu = processor("model name\t: AMD EPYC 9B14");
  assertEquals(await machineOf(CPU, cpu), "AMD EPYC 9B14");
  const gpus = fakeHost({ output: "NVIDIA H100\nNVIDIA H100\n" });
  const onGpu = { engine: "tensorflow", device: "gpu" } as const;
  assertEquals(await machineOf(onGpu, gpus), "NVIDIA H100");
  const target = "aarch64-apple-darwin";
  assertEquals(await machineOf(CPU, fakeHost({ target })), target);
});

Deno.test("instructionsOf() asks nvidia-smi for the compute capability", async () => {
  for (
    const [output, instructions, bfloat16] of [
      ["9.0\n9.0\n", "compute 9.0", true],
      ["7.5\n8.0\n", "compute 7.5 8.0", false],
    ] as const
  ) {
    const found = await instructionsOf(GPU, fakeHost({ output }));
    assertEquals([found, hasBfloat16(found)], [instructions, bfloat16]);
  }
  assertEquals(await instructionsOf(GPU, fakeHost()), "");
});

Deno.test("instructionsOf() gives nothing for the other engines", async () => {
  const host = processor("flags\t\t: avx512_bf16");
  const wasm = { engine: "wasm", device: "cpu" } as const;
  assertEquals(await instructionsOf(wasm, host), "");
  const webgpu = { engine: "webgpu", device: "gpu" } as const;
  assertEquals(await instructionsOf(webgpu, fakeHost({ output: "9.0" })), "");
});
