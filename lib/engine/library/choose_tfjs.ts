import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { InstallError } from "../../pypi/install_error.ts";
import type { EngineChoice } from "./choice.ts";
import type { Host } from "./host.ts";

/** Release of tfjs, whose own kernels these engines run. */
export const TFJS_VERSION = "4.22.0";

/** WebAssembly runs wherever the runtime does. */
export function chooseWasm(): EngineChoice {
  return ready({
    engine: "wasm",
    device: "cpu",
    reason: "WebAssembly on one thread of the processor",
    identity: `wasm tfjs ${TFJS_VERSION}`,
    read: [moduleFolder()],
  });
}

/** Folder of the package that reads its WebAssembly module when it starts. */
function moduleFolder(): string {
  const entry = import.meta.resolve("@tensorflow/tfjs-backend-wasm");
  return dirname(fileURLToPath(entry));
}

/**
 * WebGPU on the runtime's adapter.
 *
 * @param asked True if the user named it; otherwise an adapter that is only software is refused.
 * @throws {InstallError} `unsupported`, if there is no adapter.
 */
export async function chooseWebgpu(
  host: Host,
  asked: boolean,
): Promise<EngineChoice> {
  const adapter = await host.webgpuAdapter();
  if (adapter === undefined) {
    throw new InstallError(
      "unsupported",
      "No WebGPU adapter is found",
      "Install a Vulkan driver for the GPU, or use another engine: --engine wasm",
    );
  }
  if (adapter.software && !asked) {
    throw new InstallError(
      "unsupported",
      `The only WebGPU adapter, ${adapter.name}, is software and slower than WebAssembly`,
      "Install a Vulkan driver for the GPU, or ask for it by name: --engine webgpu",
    );
  }
  return ready({
    engine: "webgpu",
    device: adapter.software ? "cpu" : "gpu",
    reason: `WebGPU on ${adapter.name}`,
    identity: `webgpu tfjs ${TFJS_VERSION} ${adapter.name}`,
    flags: ["--v8-flags=--expose-gc"],
  });
}

/** An engine that needs nothing but the packages of the project. */
function ready(
  facts:
    & Pick<EngineChoice, "engine" | "device" | "reason" | "identity">
    & Partial<Pick<EngineChoice, "read" | "flags">>,
): EngineChoice {
  const choice: EngineChoice = {
    flags: [],
    read: [],
    ...facts,
    env: {},
    prepare: () => Promise.resolve(choice),
  };
  return choice;
}
