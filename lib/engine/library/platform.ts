import { InstallError } from "../../pypi/install_error.ts";
import type { LibraryBuild } from "./build.ts";
import { builds } from "./builds.ts";

const PLATFORMS: Readonly<Record<string, string>> = {
  "x86_64-unknown-linux-gnu": "linux-x86_64",
  "aarch64-unknown-linux-gnu": "linux-aarch64",
  "aarch64-apple-darwin": "macos-arm64",
};

const REASONS: readonly (readonly [RegExp, string])[] = [
  [
    /windows/,
    "Windows has no libtensorflow that can be opened from outside of Python",
  ],
  [
    /^x86_64-apple/,
    "libtensorflow is no longer made for Macs with Intel processors",
  ],
  [/musl/, "libtensorflow is made for glibc, and this system has musl"],
];

/**
 * The build of libtensorflow for this machine.
 *
 * @param target As {@linkcode Deno.build.target}.
 * @throws {InstallError} `unsupported`, where there is none.
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
    const reason = REASONS.find(([pattern]) => pattern.test(target))?.[1] ??
      `libtensorflow is not made for "${target}"`;
    throw new InstallError(
      "unsupported",
      reason,
      "Use another engine: --engine webgpu, --engine wasm",
    );
  }
  return build;
}

/** True if the machine can have libtensorflow with CUDA. */
export function hasCudaBuild(target: string): boolean {
  return builds.some(({ platform, device }) =>
    platform === PLATFORMS[target] && device === "cuda"
  );
}
