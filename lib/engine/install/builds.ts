import { InstallError } from "../../pypi/install_error.ts";

/** Release of TensorFlow whose library the engine uses. */
export const TENSORFLOW_VERSION = "2.21.0";

/** A wheel, pinned by its hash. */
export interface PinnedWheel {
  /** File name: `tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl`. */
  readonly file: string;
  readonly sha256: string;
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
  /** Processor that its files are built for. */
  readonly machine: "x86_64" | "aarch64";
  /** File names of the two libraries, in load order. */
  readonly libraries: readonly [framework: string, library: string];
  /** SHA-256 of the hashes of its wheels, one a line. Stands for the content of its files in keys. */
  readonly digest: string;
  /** The first wheel holds libtensorflow, the others the libraries of CUDA. */
  readonly wheels: readonly PinnedWheel[];
}

const PLATFORMS: Readonly<Record<string, string>> = {
  "x86_64-unknown-linux-gnu": "linux-x86_64",
  "aarch64-unknown-linux-gnu": "linux-aarch64",
  "aarch64-apple-darwin": "macos-arm64",
};

/** Why a platform has no build, by a pattern of its target. */
const UNSUPPORTED: readonly (readonly [RegExp, string])[] = [
  [
    /windows/,
    "libtensorflow for Windows cannot be loaded outside of Python",
  ],
  [
    /^x86_64-apple/,
    "libtensorflow is no longer built for Macs with Intel processors",
  ],
  [/musl/, "libtensorflow requires glibc, and this system uses musl"],
];

/**
 * The build of libtensorflow for a machine.
 *
 * @param target As `Deno.build.target`.
 * @throws {InstallError} `unsupported`, if there is none.
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
    const reason = UNSUPPORTED.find(([pattern]) => pattern.test(target))?.[1] ??
      `libtensorflow is not built for "${target}"`;
    throw new InstallError(
      "unsupported",
      reason,
      "Use another engine: --engine webgpu, --engine wasm",
    );
  }
  return build;
}

/** True if there is a build with CUDA for this target. */
export function hasCudaBuild(target: string): boolean {
  return builds.some(({ platform, device }) =>
    platform === PLATFORMS[target] && device === "cuda"
  );
}

/** Name of a build's folder in the cache: `libtensorflow-2.21.0-linux-x86_64-cpu`. */
export function folderName(
  { version, platform, device }: LibraryBuild,
): string {
  return `libtensorflow-${version}-${platform}-${device}`;
}

/** True for the files to extract from a build's wheels: libraries, CUDA's compiler, licences. */
export function isNeeded(build: LibraryBuild, path: string): boolean {
  return build.libraries.some((name) => path === `tensorflow/${name}`) ||
    path === "tensorflow/include/LICENSE" ||
    path === "tensorflow/THIRD_PARTY_NOTICES.txt" ||
    /^nvidia\/[^/]+\/lib\/[^/]+\.so(\.[\d.]+)?$/.test(path) ||
    /^nvidia\/cuda_nvcc\/(bin|nvvm)\//.test(path) ||
    /\.dist-info\/(.*\/)?(LICENSE|NOTICE)[^/]*$/i.test(path);
}

const LINUX = [
  "libtensorflow_framework.so.2",
  "libtensorflow_cc.so.2",
] as const;
const MACOS = [
  "libtensorflow_framework.2.dylib",
  "libtensorflow_cc.2.dylib",
] as const;

/**
 * The builds of libtensorflow on PyPI, pinned by file and hash. The wheels of
 * CUDA are those that `pip install tensorflow[and-cuda]==2.21.0` resolves to.
 */
export const builds: readonly LibraryBuild[] = [
  {
    version: TENSORFLOW_VERSION,
    platform: "linux-x86_64",
    device: "cpu",
    machine: "x86_64",
    libraries: LINUX,
    digest: "505342f95b7aa8c8d47098acd4934144860a6c35034ea1b7eadc81000636b6df",
    wheels: [
      {
        file: "tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl",
        sha256:
          "2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c",
        bytes: 273_829_956,
        unpacked: 853_787_275,
      },
    ],
  },
  {
    version: TENSORFLOW_VERSION,
    platform: "linux-x86_64",
    device: "cuda",
    machine: "x86_64",
    libraries: LINUX,
    digest: "744d8c8badf1fb5b0fd26ebbf864e373add4a51530421393bf95a4ec1a78efec",
    wheels: [
      {
        file: "tensorflow-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl",
        sha256:
          "9056fbc9ba04235810b71ae6cbd958a196e8804fb53bbcffbf3e23b56155f124",
        bytes: 572_440_367,
        unpacked: 1_259_499_419,
      },
      {
        file: "nvidia_cublas_cu12-12.9.3.13-py3-none-manylinux_2_27_x86_64.whl",
        sha256:
          "d7d51055f161b317c7105ddaae90e71eda059026074ffef93cf7cde2886bfe72",
        bytes: 581_217_458,
        unpacked: 855_123_678,
      },
      {
        file:
          "nvidia_cuda_cupti_cu12-12.9.79-py3-none-manylinux_2_25_x86_64.whl",
        sha256:
          "096bcf334f13e1984ba36685ad4c1d6347db214de03dbb6eebb237b41d9d934f",
        bytes: 10_814_997,
        unpacked: 43_425_030,
      },
      {
        file:
          "nvidia_cuda_nvcc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256:
          "5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0",
        bytes: 40_546_229,
        unpacked: 98_069_727,
      },
      {
        file:
          "nvidia_cuda_nvrtc_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256:
          "210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4",
        bytes: 89_568_129,
        unpacked: 227_400_254,
      },
      {
        file:
          "nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256:
          "25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3",
        bytes: 3_493_179,
        unpacked: 800_350,
      },
      {
        file: "nvidia_cudnn_cu12-9.28.0.42-py3-none-manylinux_2_27_x86_64.whl",
        sha256:
          "9ff58b7f36dacd0a93e89f8f2957b52466889217963701daa15e577317cfa375",
        bytes: 716_538_495,
        unpacked: 1_162_411_646,
      },
      {
        file:
          "nvidia_cufft_cu12-11.4.1.4-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256:
          "c67884f2a7d276b4b80eb56a79322a95df592ae5e765cf1243693365ccab4e28",
        bytes: 200_877_592,
        unpacked: 293_668_678,
      },
      {
        file:
          "nvidia_curand_cu12-10.3.10.19-py3-none-manylinux_2_27_x86_64.whl",
        sha256:
          "49b274db4780d421bd2ccd362e1415c13887c53c214f0d4b761752b8f9f6aa1e",
        bytes: 68_295_626,
        unpacked: 167_024_694,
      },
      {
        file:
          "nvidia_cusolver_cu12-11.7.5.82-py3-none-manylinux_2_27_x86_64.whl",
        sha256:
          "15da72d1340d29b5b3cf3fd100e3cd53421dde36002eda6ed93811af63c40d88",
        bytes: 338_117_415,
        unpacked: 495_034_326,
      },
      {
        file:
          "nvidia_cusparse_cu12-12.5.10.65-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        sha256:
          "73060ce019ac064a057267c585bf1fd5a353734151f87472ff02b2c5c9984e78",
        bytes: 366_465_088,
        unpacked: 486_615_630,
      },
      {
        file: "nvidia_nccl_cu12-2.32.3-py3-none-manylinux_2_27_x86_64.whl",
        sha256:
          "bb94b2348e4861d5e8aa00b36c3d12d9bdf9c6369b82cbb723de0b582280a21c",
        bytes: 351_526_311,
        unpacked: 473_616_431,
      },
      {
        file:
          "nvidia_nvjitlink_cu12-12.9.86-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256:
          "e3f1171dbdc83c5932a45f0f4c99180a70de9bd2718c1ab77d14104f6d7147f9",
        bytes: 39_748_338,
        unpacked: 95_994_606,
      },
    ],
  },
  {
    version: TENSORFLOW_VERSION,
    platform: "linux-aarch64",
    device: "cpu",
    machine: "aarch64",
    libraries: LINUX,
    digest: "77713589099da8bf22dc8805723edefb7ba587c8ed6bffec9f965610207f2467",
    wheels: [
      {
        file: "tensorflow-2.21.0-cp311-cp311-manylinux_2_27_aarch64.whl",
        sha256:
          "4b24aca16d527a3cf1c37f720c04c484c3d20f4d0fdfa98632ac8b9f3be6eb5c",
        bytes: 281_828_020,
        unpacked: 883_540_547,
      },
    ],
  },
  {
    version: TENSORFLOW_VERSION,
    platform: "macos-arm64",
    device: "cpu",
    machine: "aarch64",
    libraries: MACOS,
    digest: "7d0544ceda3e5b02219b49e27a6a471c75a8e6ccb339de3c80a12fda0a90cf36",
    wheels: [
      {
        file: "tensorflow-2.21.0-cp311-cp311-macosx_12_0_arm64.whl",
        sha256:
          "51f46f4806139d01fc7920cc72a4c75876f80649bf40ff083ab6212ceb43ca88",
        bytes: 223_405_849,
        unpacked: 741_283_963,
      },
    ],
  },
];
