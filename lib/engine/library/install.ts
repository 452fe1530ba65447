import { basename, dirname, join } from "node:path";
import { downloadWheel } from "../../pypi/download.ts";
import { explainFileError, InstallError } from "../../pypi/install_error.ts";
import { findPip, type Pip } from "../../pypi/pip.ts";
import { type UnpackedFile, unpackWheel } from "../../pypi/wheel.ts";
import { parseWheelName } from "../../pypi/wheel_name.ts";
import { folderName, isNeeded, type LibraryBuild } from "./build.ts";
import { checkSpace } from "./disk_space.ts";
import { takeLock } from "./lock.ts";
import { machineOf } from "./machine_of.ts";
import { isInstalled, writeMarker } from "./marker.ts";

/** What an installation is at. `total` is in bytes; a step without one is only named. */
export interface InstallProgress {
  readonly step: "wait" | "download" | "unpack" | "check";
  /** What the step is about: `tensorflow-cpu 2.21.0`; for `wait`, whom it waits for. */
  readonly subject: string;
  readonly done: number;
  readonly total: number;
}

export interface InstallOptions {
  readonly onProgress?: ((progress: InstallProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Found on PATH if left out. */
  readonly pip?: Pip;
  /** Loads the library once before it is kept; throws if it cannot be used. */
  readonly verify?: ((folder: string) => Promise<void>) | undefined;
}

/**
 * Installs a build of libtensorflow into the cache, unless it is there.
 *
 * Everything is put together in a folder beside the final one and renamed
 * when it is whole, so an interruption at any instant leaves the installation
 * as it was or complete. Two processes install once: the second waits.
 *
 * @returns The folder that holds `tensorflow/` (and `nvidia/`).
 * @throws {InstallError} With the remedy.
 */
export async function installLibrary(
  build: LibraryBuild,
  cache: string,
  options: InstallOptions = {},
): Promise<string> {
  const folder = join(cache, folderName(build));
  if (isInstalled(folder, build)) return folder;
  const report = options.onProgress ?? (() => {});
  try {
    await Deno.mkdir(cache, { recursive: true });
    using _lock = await takeLock(
      `${folder}.lock`,
      () =>
        report({ step: "wait", subject: "another process", done: 0, total: 0 }),
      options.signal,
    );
    await removeLeftovers(folder);
    if (isInstalled(folder, build)) return folder;
    await checkSpace(build, cache);
    const staging = `${folder}.part-${Deno.pid}`;
    await Deno.mkdir(staging);
    try {
      const files = await fetchFiles(build, staging, report, options);
      await checkMachine(build, staging);
      report({ step: "check", subject: "the library", done: 0, total: 0 });
      await options.verify?.(staging);
      await writeMarker(staging, {
        version: build.version,
        wheels: build.wheels.map(({ file, sha256 }) => ({ file, sha256 })),
        files,
      });
      await putInPlace(staging, folder);
    } finally {
      await removeLeftovers(folder);
    }
  } catch (error) {
    throw explainFileError(error, cache);
  }
  return folder;
}

async function fetchFiles(
  build: LibraryBuild,
  staging: string,
  report: (progress: InstallProgress) => void,
  { signal, pip }: InstallOptions,
): Promise<UnpackedFile[]> {
  const found = pip ?? await findPip();
  const files: UnpackedFile[] = [];
  for (const [i, wheel] of build.wheels.entries()) {
    const { name, version } = parseWheelName(wheel.file);
    const subject = `${name} ${version}` +
      (build.wheels.length > 1 ? ` (${i + 1} of ${build.wheels.length})` : "");
    const downloads = join(staging, "download");
    await Deno.mkdir(downloads);
    const path = await downloadWheel(
      { name, version, sha256: wheel.sha256, file: wheel.file },
      downloads,
      {
        pip: found,
        signal,
        onBytes: (bytes) =>
          report({
            step: "download",
            subject,
            done: Math.min(bytes, wheel.bytes),
            total: wheel.bytes,
          }),
      },
    );
    files.push(
      ...await unpackWheel(path, staging, {
        select: (path) => isNeeded(build, path),
        signal,
        onBytes: (done) =>
          report({ step: "unpack", subject, done, total: wheel.unpacked }),
      }),
    );
    await Deno.remove(downloads, { recursive: true });
  }
  return files;
}

async function checkMachine(
  build: LibraryBuild,
  staging: string,
): Promise<void> {
  for (const name of build.libraries) {
    const machine = await machineOf(join(staging, "tensorflow", name));
    if (machine !== build.machine) {
      throw new InstallError(
        "not-loadable",
        `"${name}" is made for ${
          machine ?? "an unknown processor"
        }, not for ${build.machine}`,
        "The package index gave a wheel for another machine: look at pip's settings (python3 -m pip config list)",
      );
    }
  }
}

/** Renames the finished folder; an older one, damaged, is moved out of the way first. */
async function putInPlace(staging: string, folder: string): Promise<void> {
  try {
    await Deno.rename(folder, `${folder}.part-damaged`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.rename(staging, folder);
}

/** Removes what killed or failed installations left. Only under the lock. */
async function removeLeftovers(folder: string): Promise<void> {
  const prefix = `${basename(folder)}.part-`;
  for await (const { name } of Deno.readDir(dirname(folder))) {
    if (name.startsWith(prefix)) {
      await Deno.remove(join(dirname(folder), name), { recursive: true });
    }
  }
}
