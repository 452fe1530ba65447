import type { Host } from "./host.ts";

/** Whether CUDA can be used, and what was found: `NVIDIA driver 535.129.03`. */
export interface NvidiaFinding {
  readonly usable: boolean;
  readonly reason: string;
}

/** Oldest driver that runs CUDA 12 (NVIDIA's CUDA compatibility guide). */
const OLDEST_DRIVER = 525;

const KERNEL_DRIVER = "/proc/driver/nvidia/version";
/** Devices of the driver, and of the one that Windows lends to Linux inside it. */
const DEVICES = ["/dev/nvidiactl", "/dev/dxg"];
const LIBRARY_FOLDERS = [
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
  "/lib/x86_64-linux-gnu",
  "/usr/lib/wsl/lib",
  "/usr/local/nvidia/lib64",
  "/run/opengl-driver/lib",
];

/**
 * Looks for an NVIDIA GPU that CUDA can use, by files alone: the kernel's side
 * of the driver, and the user's side, without which a container sees the first only.
 */
export function findNvidia(host: Host): NvidiaFinding {
  const visible = host.env("CUDA_VISIBLE_DEVICES");
  // CUDA sees the devices before the first that does not exist.
  if (visible !== undefined && /^\s*(-\d+\s*(,|$)|$)/.test(visible)) {
    return no(`CUDA_VISIBLE_DEVICES is "${visible}", which hides every GPU`);
  }
  const kernel = host.read(KERNEL_DRIVER);
  if (kernel === undefined && !DEVICES.some((path) => host.exists(path))) {
    return no("no NVIDIA driver is found");
  }
  const release = /^NVRM version:.*?\s(\d+)\.[\d.]+/m.exec(kernel ?? "");
  if (release !== null && Number(release[1]) < OLDEST_DRIVER) {
    return no(
      `the NVIDIA driver (release ${
        release[1]
      }) is too old for CUDA 12, which needs ${OLDEST_DRIVER} or later`,
    );
  }
  if (!hasUserDriver(host)) {
    return no(
      "the NVIDIA driver is there but its libcuda.so.1 is not (in a container: start it with its GPUs, --gpus all)",
    );
  }
  return {
    usable: true,
    reason: release === null
      ? "an NVIDIA driver is found"
      : `NVIDIA driver ${release[1]} is found`,
  };
}

function hasUserDriver(host: Host): boolean {
  const named = (host.env("LD_LIBRARY_PATH") ?? "").split(":").filter((
    folder,
  ) => folder !== "");
  const path = (host.env("PATH") ?? "").split(":").filter((folder) =>
    folder !== ""
  );
  return [...named, ...LIBRARY_FOLDERS].some((folder) =>
    host.exists(`${folder}/libcuda.so.1`)
  ) ||
    path.some((folder) => host.exists(`${folder}/nvidia-smi`));
}

function no(reason: string): NvidiaFinding {
  return { usable: false, reason };
}
