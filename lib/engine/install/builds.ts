import { RemediedError } from "../../pypi/remedied_error.ts";
import type { WheelRequest } from "../../pypi/pip.ts";
import pinned from "./builds.json" with { type: "json" };

/** A wheel, pinned by its hash. */
export interface PinnedWheel extends Required<WheelRequest> {
  readonly bytes: number;
  /** Total size of the files that are extracted from it, in bytes. */
  readonly unpacked: number;
}

/** A build of libtensorflow for a platform and a device. */
export interface LibraryBuild {
  readonly version: string;
  /** `linux-x86_64` */
  readonly platform: string;
  readonly device: "cpu" | "cuda";
  /**
   * SHA-256 of the hashes of its wheels, one a line. Stands for the content of
   * its files in keys.
   */
  readonly digest: string;
  /** The first wheel holds libtensorflow, the others the libraries of CUDA. */
  readonly wheels: readonly PinnedWheel[];
}

const PLATFORMS: Readonly<Record<string, string>> = {
  "x86_64-unknown-linux-gnu": "linux-x86_64",
  "aarch64-unknown-linux-gnu": "linux-aarch64",
  "aarch64-apple-darwin": "macos-arm64",
};

/**
 * The build of libtensorflow for a machine.
 *
 * @param target As `Deno.build.target`.
 * @throws {RemediedError} If there is none.
 */
export function buildFor(
  target: string,
  device: LibraryBuild["device"],
): LibraryBuild {
  const platform = PLATFORMS[target];
  const build = builds.find((build) =>
    build.platform === platform && build.device === device
  );
  if (build === undefined) {
    throw new RemediedError(
      `There is no libtensorflow that can be loaded on "${target}"`,
      "Use another engine: --engine webgpu, --engine wasm",
    );
  }
  return build;
}

/**
 * Name of a build's folder in the cache:
 * `libtensorflow-2.21.0-linux-x86_64-cpu`.
 */
export function folderName(
  { version, platform, device }: LibraryBuild,
): string {
  return `libtensorflow-${version}-${platform}-${device}`;
}

/**
 * True for the files to extract from a build's wheels: libraries, CUDA's
 * compiler, licences.
 */
export function isNeeded(path: string): boolean {
  return /^tensorflow\/libtensorflow_(framework|cc)\.(so\.2|2\.dylib)$/
    .test(path) ||
    path === "tensorflow/include/LICENSE" ||
    path === "tensorflow/THIRD_PARTY_NOTICES.txt" ||
    /^nvidia\/[^/]+\/lib\/[^/]+\.so(\.[\d.]+)?$/.test(path) ||
    /^nvidia\/cuda_nvcc\/(bin|nvvm)\//.test(path) ||
    /\.dist-info\/(.*\/)?(LICENSE|NOTICE)[^/]*$/i.test(path);
}

/**
 * The builds of libtensorflow on PyPI, pinned by file and hash. The wheels of
 * CUDA are those that `pip install tensorflow[and-cuda]==2.21.0` resolves to.
 */
export const builds = pinned as readonly LibraryBuild[];
