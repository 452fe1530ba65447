import { RemediedError } from "../../pypi/remedied_error.ts";
import type { EngineChoice } from "./choice.ts";
import type { LoadedLibrary, ProbeResult, WebgpuAdapter } from "./probe.ts";

/**
 * The facts about a machine that determine the engine; tests substitute their
 * own.
 */
export type Host = Readonly<typeof thisHost>;

export const thisHost = {
  /** `x86_64-unknown-linux-gnu` */
  target: Deno.build.target,
  env: Deno.env.get,
  /** True if the file exists and is accessible. */
  exists: (path: string) => ifUsable(() => Deno.statSync(path)) !== undefined,
  /** Content of a small text file; undefined if it cannot be read. */
  read: (path: string) => ifUsable(() => Deno.readTextFileSync(path)),
  // The following start a process, so they are called only when necessary.
  /** Standard output of a program; undefined if it is missing or fails. */
  async output(
    program: string,
    ...args: string[]
  ): Promise<string | undefined> {
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
  /** The WebGPU adapter; undefined if there is none. */
  async webgpuAdapter(): Promise<WebgpuAdapter | undefined> {
    const { result, errors } = await runProbe();
    if (result !== undefined) return result ?? undefined;
    throw new RemediedError(
      `The graphics driver fails when WebGPU requests an adapter: ${
        errors.split("\n").at(-1)
      }`,
      "Update the graphics driver, or use another engine: --engine wasm",
    );
  },
};

/** How the process of `probe.ts` ended. */
export interface Probed<T extends ProbeResult> {
  /** The signal that ended it. */
  readonly signal: Deno.Signal | null;
  /** What it printed to standard error. */
  readonly errors: string;
  /** What it printed; undefined if it failed. */
  readonly result: T | undefined;
}

/**
 * Runs `probe.ts` in a process of its own, which an incompatible library or a
 * broken graphics driver may crash.
 *
 * @param folder Folder of libtensorflow; by default, it asks for the WebGPU
 * adapter.
 */
export async function runProbe(): Promise<Probed<WebgpuAdapter | null>>;
export async function runProbe(
  folder: string,
  env: Readonly<Record<string, string>>,
): Promise<Probed<LoadedLibrary>>;
export async function runProbe(
  folder?: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Probed<ProbeResult>> {
  const probe = new URL("probe.ts", import.meta.url).href;
  const args = folder === undefined
    ? [probe]
    : ["--allow-ffi", `--allow-read=${folder}`, probe, folder];
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--no-config", ...args],
    env: { ...env, NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  return {
    signal: output.signal,
    errors: decode(output.stderr),
    result: output.success
      ? JSON.parse(decode(output.stdout).split("\n").at(-1)!)
      : undefined,
  };
}

/**
 * What a function gives; undefined if a file is absent or inaccessible, so that
 * it cannot be used.
 */
function ifUsable<T>(f: () => T): T | undefined {
  try {
    return f();
  } catch {
    return undefined;
  }
}

/** Oldest driver that runs CUDA 12 (NVIDIA's CUDA compatibility guide). */
const OLDEST_DRIVER = 525;

const KERNEL_DRIVER = "/proc/driver/nvidia/version";
/** Devices of the driver on Linux and in the Windows Subsystem for Linux. */
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
 * Looks for an NVIDIA GPU that CUDA can use, by looking at files only: the
 * kernel driver, and its user-space library, which containers may lack.
 *
 * @returns Whether there is one, and why: `NVIDIA driver 535 found`
 */
export function findNvidia(host: Host) {
  if (host.target !== "x86_64-unknown-linux-gnu") {
    return no("CUDA is supported on Linux x86-64 only");
  }
  const visible = host.env("CUDA_VISIBLE_DEVICES");
  // CUDA uses the devices listed before the first one that does not exist.
  if (visible !== undefined && /^\s*(-\d+\s*(,|$)|$)/.test(visible)) {
    return no(`CUDA_VISIBLE_DEVICES is "${visible}", which hides every GPU`);
  }
  const kernel = host.read(KERNEL_DRIVER);
  if (kernel === undefined && !DEVICES.some((path) => host.exists(path))) {
    return no("no NVIDIA driver found");
  }
  const release = /^NVRM version:.*?\s(\d+)\.[\d.]+/m.exec(kernel ?? "");
  if (release !== null && Number(release[1]) < OLDEST_DRIVER) {
    return no(
      `NVIDIA driver ${
        release[1]
      } is too old for CUDA 12, which requires ${OLDEST_DRIVER} or later`,
    );
  }
  if (!hasUserDriver(host)) {
    return no(
      "an NVIDIA driver is present but its libcuda.so.1 is not (start a container with --gpus all)",
    );
  }
  const driver = release === null ? "driver" : `driver ${release[1]}`;
  return { usable: true, reason: `NVIDIA ${driver} found` };
}

function hasUserDriver(host: Host): boolean {
  const folders = (name: string) =>
    (host.env(name) ?? "").split(":").filter((folder) => folder !== "");
  return [...folders("LD_LIBRARY_PATH"), ...LIBRARY_FOLDERS]
    .some((folder) => host.exists(`${folder}/libcuda.so.1`)) ||
    folders("PATH").some((folder) => host.exists(`${folder}/nvidia-smi`));
}

function no(reason: string) {
  return { usable: false, reason };
}

/**
 * Instruction sets for which libtensorflow has kernels of their own, which may
 * add numbers in another order.
 */
const INSTRUCTIONS = [
  "avx",
  "avx2",
  "fma",
  "avx_vnni",
  "avx512f",
  "avx512_vnni",
  "avx512_bf16",
  "avx512_fp16",
  "amx_bf16",
  "amx_fp16",
  "asimddp",
  "i8mm",
  "bf16",
  "sve",
  "sve2",
  "slow_bf16",
];

/**
 * What a machine's processor contributes to the last bits of results: its
 * instruction sets as Linux names them (`avx avx2 fma`), or the compute
 * capabilities of its GPUs (`compute 8.0`).
 *
 * @returns Empty for engines other than libtensorflow, and on macOS, whose
 * processors the build treats alike.
 */
export async function instructionsOf(
  { engine, device }: Pick<EngineChoice, "engine" | "device">,
  host: Host,
): Promise<string> {
  if (engine !== "tensorflow") return "";
  if (device === "gpu") {
    const capabilities = await ofGpus("compute_cap", host);
    return capabilities.length === 0 ? "" : `compute ${capabilities.join(" ")}`;
  }
  const processor = processorOf(host) ?? "";
  const [, flags = ""] = /^(?:flags|Features)\s*:(.*)/m.exec(processor) ?? [];
  const instructions = new Set(flags.split(/\s+/));
  // Intel's processors multiply bfloat16 faster by AMX alone, which virtual
  // machines may hide.
  const isIntel = /^vendor_id\s*: GenuineIntel/m.test(processor);
  const isSlow = isIntel && instructions.has("avx512_bf16") &&
    !instructions.has("amx_bf16");
  if (isSlow) instructions.add("slow_bf16");
  return INSTRUCTIONS.filter((it) => instructions.has(it)).join(" ");
}

/**
 * The name of what computes, on which seconds depend: of the processor or of
 * the GPUs, else the target.
 */
export async function machineOf(
  { engine, device }: Pick<EngineChoice, "engine" | "device">,
  host: Host,
): Promise<string> {
  const isGpu = engine === "tensorflow" && device === "gpu";
  const name = isGpu
    ? (await ofGpus("name", host)).join(", ")
    : /^model name\s*: (.+)$/m.exec(processorOf(host) ?? "")?.[1]?.trim();
  return name || host.target;
}

/** A property of the GPUs as nvidia-smi says it, each value once. */
async function ofGpus(property: string, host: Host): Promise<string[]> {
  const query = [`--query-gpu=${property}`, "--format=csv,noheader"];
  const listed = await host.output("nvidia-smi", ...query);
  return [...new Set(listed?.trim().split(/\s*\n\s*/))];
}

/** First compute capability of NVIDIA GPUs with bfloat16 products (Ampere). */
const FIRST_CAPABILITY = 8;

/**
 * True if libtensorflow multiplies bfloat16 faster than float32 with these
 * {@linkcode instructionsOf a machine}: on Linux CPUs with AMX, Arm's BF16
 * extension, or AVX512-BF16 that is not Intel's, and on NVIDIA GPUs since
 * Ampere.
 */
export function hasBfloat16(instructions: string): boolean {
  const [, capability] = /^compute (\S+)/.exec(instructions) ?? [];
  return capability === undefined
    ? /\b(avx512_bf16|amx_bf16|bf16)\b(?!.*slow)/.test(instructions)
    : parseFloat(capability) >= FIRST_CAPABILITY;
}

/**
 * The kind of the machine's processor and its instruction sets, as Linux
 * describes them; undefined on other systems.
 */
export function processorOf(host: Pick<Host, "read">): string | undefined {
  const [first] = (host.read("/proc/cpuinfo") ?? "").trim().split("\n\n");
  const lines = first!.split("\n").filter((line) =>
    /^(vendor_id|cpu family|model|model name|stepping|CPU \w+|flags|Features)\s*:/
      .test(line)
  );
  return lines.length === 0 ? undefined : lines.join("\n");
}
