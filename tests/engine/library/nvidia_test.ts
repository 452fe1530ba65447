import { assert, assertEquals, assertMatch } from "@std/assert";
import { findNvidia } from "../../../lib/engine/library/nvidia.ts";
import { DRIVER, fakeHost, LIBCUDA } from "./fake_host.ts";

Deno.test("findNvidia() finds a driver with both its sides", () => {
  assertEquals(findNvidia(fakeHost({ files: { ...DRIVER, ...LIBCUDA } })), {
    usable: true,
    reason: "NVIDIA driver 550 is found",
  });
});

Deno.test("findNvidia() reads the version of the open kernel module", () => {
  const version =
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build  (a@b)\n";
  const found = findNvidia(
    fakeHost({ files: { "/proc/driver/nvidia/version": version, ...LIBCUDA } }),
  );
  assertEquals(found.reason, "NVIDIA driver 570 is found");
});

Deno.test("findNvidia() finds the driver that Windows lends, and one that LD_LIBRARY_PATH or nvidia-smi shows", () => {
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

Deno.test("findNvidia() says why there is none", () => {
  const reason = (files: Record<string, string>, env = {}) => {
    const finding = findNvidia(fakeHost({ files, env }));
    assertEquals(finding.usable, false);
    return finding.reason;
  };
  assertMatch(reason({}), /no NVIDIA driver is found/);
  assertMatch(reason(LIBCUDA), /no NVIDIA driver is found/);
  assertMatch(
    reason(DRIVER),
    /libcuda.so.1 is not \(in a container: start it with its GPUs/,
  );
  const old = DRIVER["/proc/driver/nvidia/version"].replace(
    "550.54.15",
    "470.223.02",
  );
  assertMatch(
    reason({ "/proc/driver/nvidia/version": old, ...LIBCUDA }),
    /release 470\) is too old for CUDA 12, which needs 525/,
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
