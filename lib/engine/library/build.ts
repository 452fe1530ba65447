/** A wheel, by its exact file. */
export interface PinnedWheel {
  /** Name of its file, which says package, version, Python and platform. */
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
  /** Bytes of the files that are taken out of it. */
  readonly unpacked: number;
}

/** A build of libtensorflow: for which machine, and which wheels hold it. */
export interface LibraryBuild {
  readonly version: string;
  /** `linux-x86_64` */
  readonly platform: string;
  readonly device: "cpu" | "cuda";
  /** Processor that its files must be made for, as {@linkcode machineOf} names it. */
  readonly machine: "x86_64" | "aarch64";
  /** Names of the library's two files, in the order in which they are loaded. */
  readonly libraries: readonly [framework: string, library: string];
  /** The first holds libtensorflow, the others libraries of CUDA. */
  readonly wheels: readonly PinnedWheel[];
}

/** Release of TensorFlow whose library the engine uses. */
export const TENSORFLOW_VERSION = "2.21.0";

/** Name of the folder in the user's cache: `libtensorflow-2.21.0-linux-x86_64-cpu`. */
export function folderName(
  { version, platform, device }: LibraryBuild,
): string {
  return `libtensorflow-${version}-${platform}-${device}`;
}

/** True for the files that are taken out of a build's wheels: libraries, CUDA's compiler, licences. */
export function isNeeded(build: LibraryBuild, path: string): boolean {
  return build.libraries.some((name) => path === `tensorflow/${name}`) ||
    path === "tensorflow/include/LICENSE" ||
    path === "tensorflow/THIRD_PARTY_NOTICES.txt" ||
    /^nvidia\/[^/]+\/lib\/[^/]+\.so(\.[\d.]+)?$/.test(path) ||
    /^nvidia\/cuda_nvcc\/(bin|nvvm)\//.test(path) ||
    /\.dist-info\/(.*\/)?(LICENSE|NOTICE)[^/]*$/i.test(path);
}
