import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { InstallError } from "../../pypi/install_error.ts";
import { buildFor, folderName, hasCudaBuild } from "./builds.ts";
import { cacheFolder, isInstalled } from "./folder.ts";
import { findNvidia, type Host, thisHost } from "./host.ts";
import { type EngineChoice, type EngineName, ENGINES } from "./choice.ts";

/**
 * Chooses the engine. `auto` takes the first that can run and says why none before it.
 *
 * It runs before every pipeline, so `tensorflow` is chosen by a look at a few files.
 *
 * @throws {InstallError} If the engine asked for cannot run here, with the remedy.
 */
export async function selectEngine(
  request: EngineName | "auto",
  host: Host = thisHost,
): Promise<EngineChoice> {
  return request === "auto"
    ? await chooseFirst(ENGINES, host, [])
    : await choose(request, host, true);
}

async function choose(
  engine: EngineName,
  host: Host,
  asked: boolean,
): Promise<EngineChoice> {
  switch (engine) {
    case "tensorflow":
      return chooseTensorflow(host);
    case "webgpu":
      return await chooseWebgpu(host, asked);
    case "wasm":
      return chooseWasm();
  }
}

/** The first engine that can run; `against` says why not those before. */
async function chooseFirst(
  engines: readonly EngineName[],
  host: Host,
  against: readonly string[],
): Promise<EngineChoice> {
  const [engine, ...others] = engines;
  if (engine === undefined) {
    throw new Error(`No engine can run here: ${against.join("; ")}`);
  }
  const next = (error: unknown) =>
    chooseFirst(others, host, [...against, refusal(engine, error)]);
  let choice: EngineChoice;
  try {
    choice = await choose(engine, host, false);
  } catch (error) {
    return await next(error);
  }
  const explained = {
    ...choice,
    reason: [choice.reason, ...against].join("; "),
  };
  return {
    ...explained,
    prepare: async (options) => {
      try {
        await choice.prepare(options);
      } catch (error) {
        return await (await next(error)).prepare(options);
      }
      return explained;
    },
  };
}

/** Why an engine is passed over. An error without a remedy, or an interruption, ends the search. */
function refusal(engine: EngineName, error: unknown): string {
  if (!(error instanceof InstallError) || error.code === "interrupted") {
    throw error;
  }
  const { code, problem, remedy } = error;
  // Where it could run, the user may want to mend what kept it from running.
  return `not ${engine}: ${problem}${
    code === "unsupported" ? "" : `. ${remedy}`
  }`;
}

/**
 * libtensorflow: the build with CUDA where there is an NVIDIA driver, else
 * that for the processor. Looks at a few files and installs nothing.
 *
 * @throws {InstallError} `unsupported`, if it is not made for this platform.
 */
function chooseTensorflow(host: Host): EngineChoice {
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
      const { verifyLibrary } = await import("./check.ts");
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

/** Release of tfjs, whose own kernels these engines run. */
export const TFJS_VERSION = "4.22.0";

/** WebAssembly runs wherever the runtime does. */
function chooseWasm(): EngineChoice {
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
async function chooseWebgpu(
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
