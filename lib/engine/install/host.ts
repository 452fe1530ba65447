import { InstallError } from "../../pypi/install_error.ts";
import type { WebgpuAdapter } from "./probe.ts";
import type { EngineChoice } from "./choice.ts";

/** What choosing an engine looks at on this machine; tests put another in its place. */
export interface Host {
  /** `x86_64-unknown-linux-gnu`, as `Deno.build.target`. */
  readonly target: string;
  env(name: string): string | undefined;
  /** True if the file can be seen. */
  exists(path: string): boolean;
  /** Text of a small file; undefined if it cannot be read. */
  read(path: string): string | undefined;
  // These take a process, so they are asked only when it matters.
  /** What a program prints; undefined if it is missing or fails. */
  output(program: string, ...args: string[]): Promise<string | undefined>;
  /** The WebGPU adapter, or undefined. */
  webgpuAdapter(): Promise<WebgpuAdapter | undefined>;
}

/** This machine. */
export const thisHost: Host = {
  target: Deno.build.target,
  env: Deno.env.get,
  exists(path) {
    try {
      Deno.statSync(path);
      return true;
    } catch {
      return false; // Absent, or not to be seen: neither can be used.
    }
  },
  read(path) {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return undefined; // As above.
    }
  },
  async output(program, ...args) {
    try {
      const { success, stdout } = await new Deno.Command(program, {
        args,
        stdin: "null",
        stderr: "null",
      }).output();
      return success ? new TextDecoder().decode(stdout) : undefined;
    } catch {
      return undefined; // Not installed.
    }
  },
  webgpuAdapter,
};

/** Asks a process of its own, which a broken graphics driver may take down. */
async function webgpuAdapter(): Promise<WebgpuAdapter | undefined> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-config",
      new URL("./probe.ts", import.meta.url).href,
    ],
    stdin: "null",
  }).output();
  if (!success) {
    throw new InstallError(
      "unsupported",
      `The graphics driver fails when WebGPU asks for an adapter: ${
        new TextDecoder().decode(stderr).trim().split("\n").at(-1)
      }`,
      "Update the driver, or use another engine",
    );
  }
  return JSON.parse(new TextDecoder().decode(stdout)) ?? undefined;
}

/** Whether CUDA can be used, and what was found: `NVIDIA driver 535.129.03`. */
interface NvidiaFinding {
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

/** First compute capability of NVIDIA GPUs with bfloat16 products (Ampere). */
const FIRST_CAPABILITY = 8;

/**
 * True if the engine multiplies bfloat16 faster than float32 here: on Linux with
 * AVX512-BF16, AMX or Arm's extension, and on NVIDIA GPUs since Ampere. The
 * library for macOS and the other engines have no such products.
 */
export async function hasBfloat16(
  { engine, device }: Pick<EngineChoice, "engine" | "device">,
  host: Host,
): Promise<boolean> {
  if (engine !== "tensorflow") return false;
  if (device === "gpu") {
    const capability = await host.output(
      "nvidia-smi",
      "--query-gpu=compute_cap",
      "--format=csv,noheader",
    );
    return capability !== undefined &&
      parseFloat(capability) >= FIRST_CAPABILITY;
  }
  const flags =
    /^(?:flags|Features)\s*:(.*)$/m.exec(host.read("/proc/cpuinfo") ?? "")
      ?.[1] ?? "";
  return /\s(avx512_bf16|amx_bf16|bf16)(\s|$)/.test(flags);
}
