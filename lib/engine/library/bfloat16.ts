import type { EngineChoice } from "./choice.ts";
import type { Host } from "./host.ts";

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
