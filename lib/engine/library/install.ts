import { statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { downloadWheel } from "../../pypi/download.ts";
import { explainFileError, InstallError } from "../../pypi/install_error.ts";
import { findPip } from "../../pypi/pip.ts";
import { type UnpackedFile, unpackWheel } from "../../pypi/wheel.ts";
import { parseWheelName } from "../../pypi/wheel_name.ts";
import { folderName, isNeeded, type LibraryBuild } from "./build.ts";
import { takeLock } from "./lock.ts";
import { machineOf } from "./machine_of.ts";
import { isInstalled, writeMarker } from "./marker.ts";

/** What an installation is at. `total` is in bytes; a step without one is only named. */
export interface InstallProgress {
  readonly step: "wait" | "download" | "unpack" | "check";
  /** What the step is about: `tensorflow-cpu 2.21.0`. */
  readonly subject: string;
  readonly done: number;
  readonly total: number;
}

export interface InstallOptions {
  readonly onProgress?: ((progress: InstallProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
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
  { onProgress, signal, verify }: InstallOptions = {},
): Promise<string> {
  const folder = join(cache, folderName(build));
  if (isInstalled(folder, build)) return folder;
  const report = onProgress ?? (() => {});
  try {
    await Deno.mkdir(cache, { recursive: true });
    using _lock = await takeLock(`${folder}.lock`, () =>
      report({
        step: "wait",
        subject: "another process that installs the library",
        done: 0,
        total: 0,
      }), signal);
    await removeLeftovers(folder);
    if (isInstalled(folder, build)) return folder;
    await checkSpace(build, cache);
    const staging = await Deno.makeTempDir({
      dir: cache,
      prefix: `${folderName(build)}.part-`,
    });
    try {
      const files = await fetchFiles(build, staging, report, signal);
      await checkMachine(build, staging);
      report({ step: "check", subject: "the library", done: 0, total: 0 });
      await verify?.(staging);
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
  signal: AbortSignal | undefined,
): Promise<UnpackedFile[]> {
  const pip = await findPip();
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
        pip,
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

/** Refuses an installation that would fill the disk. */
async function checkSpace(build: LibraryBuild, cache: string): Promise<void> {
  let needed = 0;
  let unpacked = 0;
  for (const { bytes, unpacked: size } of build.wheels) {
    // pip copies a finished download once more.
    needed = Math.max(needed, unpacked + 2 * bytes, unpacked + bytes + size);
    unpacked += size;
  }
  const { bavail, bsize } = await statfs(cache);
  const free = bavail * bsize;
  if (free < needed) {
    throw new InstallError(
      "disk-full",
      `The library needs ${
        megabytes(needed)
      } MB of disk while it is installed, and the disk that holds "${cache}" has ${
        megabytes(free)
      } MB free`,
      "Free some space, or name a folder on another disk in DYLORA_CACHE",
    );
  }
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
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
