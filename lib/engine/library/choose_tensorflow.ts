import { join } from "node:path";
import { folderName } from "./build.ts";
import { cacheFolder } from "./cache_folder.ts";
import type { EngineChoice } from "./choice.ts";
import type { Host } from "./host.ts";
import { isInstalled } from "./marker.ts";
import { findNvidia } from "./nvidia.ts";
import { buildFor, hasCudaBuild } from "./platform.ts";

/**
 * libtensorflow: the build with CUDA where there is an NVIDIA driver, else
 * that for the processor. Looks at a few files and installs nothing.
 *
 * @throws {InstallError} `unsupported`, if it is not made for this platform.
 */
export function chooseTensorflow(host: Host): EngineChoice {
  const nvidia = hasCudaBuild(host.target)
    ? findNvidia(host)
    : { usable: false, reason: "CUDA is used on Linux x86-64 only" };
  const build = buildFor(host.target, nvidia.usable ? "cuda" : "cpu");
  const cache = cacheFolder(host.env);
  const folder = join(cache, folderName(build));
  const device = nvidia.usable ? "gpu" : "cpu";
  const choice: EngineChoice = {
    engine: "tensorflow",
    device,
    reason: `libtensorflow on the ${device.toUpperCase()}: ${nvidia.reason}`,
    identity: `tensorflow ${build.version} ${build.platform} ${build.device}`,
    library: join(folder, "tensorflow"),
    flags: ["--allow-ffi"],
    read: [folder],
    env: nvidia.usable ? cudaEnvironment(host, cache) : {},
    prepare: async (options) => {
      if (isInstalled(folder, build)) return choice;
      // Loaded only now: choosing happens on every run, installing once.
      const { installLibrary } = await import("./install.ts");
      const { verifyLibrary } = await import("./inspect.ts");
      await installLibrary(build, cache, {
        verify: (folder) =>
          verifyLibrary(join(folder, "tensorflow"), build.version),
        ...options,
      });
      return choice;
    },
  };
  return choice;
}

/** What CUDA reads from the environment, and a place for the kernels that its driver compiles. */
function cudaEnvironment(host: Host, cache: string): Record<string, string> {
  const env: Record<string, string> = {
    CUDA_CACHE_PATH: join(cache, "cuda-kernels"),
    CUDA_CACHE_MAXSIZE: String(2 ** 32 - 1),
  };
  for (const name of ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH"]) {
    const value = host.env(name);
    if (value !== undefined) env[name] = value;
  }
  return env;
}
