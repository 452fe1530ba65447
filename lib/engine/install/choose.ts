import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { RemediedError } from "../../pypi/remedied_error.ts";
import { buildFor, folderName } from "./builds.ts";
import { type EngineChoice, type EngineName, ENGINES } from "./choice.ts";
import { cacheFolder, inspectInstallation } from "./folder.ts";
import { findNvidia, type Host, thisHost } from "./host.ts";

/** Release of the packages of tfjs, whose kernels all engines run. */
export const TFJS_VERSION = "4.22.0";

/** The package whose kernels an engine runs. */
export const KERNELS: Readonly<Record<EngineName, string>> = {
  tensorflow: "@tensorflow/tfjs-node-gpu",
  webgpu: "@tensorflow/tfjs-backend-webgpu",
  wasm: "@tensorflow/tfjs-backend-wasm",
};

/**
 * Chooses the engine. `auto` takes the first one that can run here; its reason
 * says why each one before it cannot.
 *
 * This runs before every pipeline, so `tensorflow` is chosen by looking at a
 * few files, and nothing is installed before `prepare()`.
 *
 * @throws {RemediedError} If the requested engine cannot run here.
 */
export async function selectEngine(
  request: EngineName | "auto",
  host: Host = thisHost,
): Promise<EngineChoice> {
  if (request !== "auto") return await CHOOSE[request](host, true);
  const rejected: string[] = [];
  for (const engine of ENGINES) {
    try {
      const choice = await CHOOSE[engine](host, false);
      return { ...choice, reason: [choice.reason, ...rejected].join("; ") };
    } catch (error) {
      if (!(error instanceof RemediedError)) throw error;
      rejected.push(`not ${engine}: ${error.problem}`);
    }
  }
  throw new Error(`No engine can run here: ${rejected.join("; ")}`);
}

/**
 * What an engine needs that takes nothing but the npm packages of the project.
 */
const OF_PACKAGES = {
  flags: [],
  read: [],
  env: {},
  prepare: () => Promise.resolve(),
};

/** Chooses each engine; `requested` is false where it is one of several. */
const CHOOSE = {
  tensorflow: chooseTensorflow,
  webgpu: chooseWebgpu,
  wasm: chooseWasm,
};

/**
 * libtensorflow: the CUDA build if there is a usable NVIDIA driver, else the
 * CPU build.
 *
 * @throws {RemediedError} If there is no build for this platform.
 */
function chooseTensorflow(host: Host): EngineChoice {
  const nvidia = findNvidia(host);
  const build = buildFor(host.target, nvidia.usable ? "cuda" : "cpu");
  const cache = cacheFolder(host.env);
  const folder = join(cache, folderName(build));
  const device = nvidia.usable ? "gpu" : "cpu";
  const cuda = nvidia.usable ? cudaSettings(host, cache) : { env: {} };
  return {
    engine: "tensorflow",
    device,
    reason: `libtensorflow on the ${device.toUpperCase()}: ${nvidia.reason}`,
    identity: `tensorflow ${build.version} ${build.platform} ${build.device} ${
      build.digest.slice(0, 16)
    }`,
    library: join(folder, "tensorflow"),
    flags: ["--allow-ffi"],
    read: [folder],
    ...cuda,
    prepare: async (options) => {
      const kernels = cuda.env.CUDA_CACHE_PATH;
      if (kernels) Deno.mkdirSync(kernels, { recursive: true });
      const { state } = await inspectInstallation(
        folder,
        build.wheels,
        options?.thorough,
      );
      if (state === "intact") return;
      // An engine is chosen on every run but installed once.
      const { installLibrary } = await import("./install.ts");
      const { inspectLibrary } = await import("./check.ts");
      await installLibrary(build, cache, {
        verify: (folder) => inspectLibrary(join(folder, "tensorflow")),
        ...options,
      }).catch(nameOtherEngine);
    },
  };
}

/**
 * Adds to the remedy that WebAssembly needs no library: `auto` does not choose
 * an engine that is 50 times slower for a broken network.
 */
function nameOtherEngine(error: unknown): never {
  if (!(error instanceof RemediedError)) throw error;
  const { problem, remedy, cause } = error;
  const other =
    "Or run without the library, some 50 times slower: --engine wasm";
  throw new RemediedError(problem, `${remedy}\n${other}`, { cause });
}

/**
 * Variables that CUDA reads, with a cache for the kernels that its driver
 * compiles; folders of the driver's libraries in unusual places; that cache,
 * and memory that the processes of CUDA share.
 */
function cudaSettings(
  { env }: Host,
  cache: string,
): Pick<EngineChoice, "env" | "native"> {
  const kernels = join(cache, "cuda-kernels");
  const libraries = env("LD_LIBRARY_PATH");
  const visible = env("CUDA_VISIBLE_DEVICES");
  return {
    env: {
      CUDA_CACHE_PATH: kernels,
      CUDA_CACHE_MAXSIZE: String(2 ** 32 - 1),
      ...(visible !== undefined && { CUDA_VISIBLE_DEVICES: visible }),
      ...(libraries !== undefined && { LD_LIBRARY_PATH: libraries }),
    },
    native: {
      read: libraries?.split(":").filter((folder) => folder !== "") ?? [],
      write: [kernels, "/dev/shm"],
    },
  };
}

/**
 * WebGPU on the runtime's adapter.
 *
 * @param requested True if the user named this engine; `auto` does not take a
 * software adapter.
 * @throws {RemediedError} If there is no adapter.
 */
async function chooseWebgpu(
  host: Host,
  requested: boolean,
): Promise<EngineChoice> {
  const adapter = await host.webgpuAdapter();
  if (adapter === undefined) {
    throw new RemediedError(
      "No WebGPU adapter was found",
      "Install a Vulkan driver for the GPU, or use another engine: --engine wasm",
    );
  }
  if (adapter.software && !requested) {
    throw new RemediedError(
      `The only WebGPU adapter, "${adapter.name}", is a software one, which is slower than WebAssembly`,
      "Install a Vulkan driver for the GPU, or request the adapter: --engine webgpu",
    );
  }
  return {
    ...OF_PACKAGES,
    engine: "webgpu",
    device: adapter.software ? "cpu" : "gpu",
    reason: `WebGPU on ${adapter.name}`,
    identity: `webgpu tfjs ${TFJS_VERSION} ${adapter.name}`,
    flags: ["--v8-flags=--expose-gc"],
  };
}

/** WebAssembly, which runs wherever the runtime does. */
function chooseWasm(): EngineChoice {
  const entry = import.meta.resolve("@tensorflow/tfjs-backend-wasm");
  const library = dirname(fileURLToPath(entry));
  return {
    ...OF_PACKAGES,
    engine: "wasm",
    device: "cpu",
    reason: "WebAssembly on one CPU thread",
    identity: `wasm tfjs ${TFJS_VERSION}`,
    library,
    read: [library],
  };
}
