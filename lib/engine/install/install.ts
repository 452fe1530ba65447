import { statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  explainFileError,
  InstallError,
  throwIfInterrupted,
} from "../../pypi/install_error.ts";
import {
  downloadWheel,
  findPip,
  parseWheelName,
  type Pip,
} from "../../pypi/pip.ts";
import { type UnpackedFile, unpackWheel } from "../../pypi/wheel.ts";
import { folderName, isNeeded, type LibraryBuild } from "./builds.ts";
import { isInstalled, writeMarker } from "./folder.ts";

/** What an installation is at. `total` is in bytes; a step without one is only named. */
interface InstallProgress {
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

/**
 * Refuses an installation that would fill the disk.
 *
 * @throws {InstallError} `disk-full`
 */
async function checkSpace(
  build: LibraryBuild,
  cache: string,
): Promise<void> {
  const needed = spaceNeeded(build);
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

/** Bytes in use at the fullest moment: wheels are fetched, unpacked and removed one by one. */
function spaceNeeded({ wheels }: LibraryBuild): number {
  let kept = 0;
  let most = 0;
  for (const { bytes, unpacked } of wheels) {
    // pip copies a finished download once more before it removes the first.
    most = Math.max(most, kept + 2 * bytes, kept + bytes + unpacked);
    kept += unpacked;
  }
  return most;
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}

/**
 * Takes a lock that one process holds at a time; the kernel releases it when
 * the process dies, so no lock is ever stale.
 *
 * @param onWait Called once if another process holds the lock.
 * @returns To be disposed of: that releases the lock.
 */
async function takeLock(
  path: string,
  onWait: () => void,
  signal?: AbortSignal,
): Promise<Disposable> {
  const file = await Deno.open(path, { create: true, write: true });
  try {
    if (!await file.tryLock(true)) {
      onWait();
      do {
        throwIfInterrupted(signal);
        await new Promise((resolve) => setTimeout(resolve, 100));
      } while (!await file.tryLock(true));
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Processor numbers of ELF headers (`e_machine`). */
const ELF_MACHINES: Readonly<Record<number, string>> = {
  3: "x86",
  40: "arm",
  62: "x86_64",
  183: "aarch64",
  243: "riscv64",
};

/** Processor numbers of Mach-O headers (`cputype`). */
const MACH_O_MACHINES: Readonly<Record<number, string>> = {
  0x01000007: "x86_64",
  0x0100000c: "aarch64",
};

/**
 * Processor that a shared library is made for, read from its header.
 *
 * @returns `x86_64`, `aarch64`, ... or undefined if the file is no 64-bit little-endian library.
 */
export async function machineOf(path: string): Promise<string | undefined> {
  using file = await Deno.open(path);
  const header = new Uint8Array(20);
  if (await file.read(header) !== header.length) return undefined;
  const view = new DataView(header.buffer);
  if (view.getUint32(0) === 0x7f454c46 && header[4] === 2 && header[5] === 1) {
    const machine = view.getUint16(18, true);
    return ELF_MACHINES[machine] ?? `ELF machine ${machine}`;
  }
  if (view.getUint32(0, true) === 0xfeedfacf) {
    const machine = view.getUint32(4, true);
    return MACH_O_MACHINES[machine] ?? `Mach-O processor ${machine}`;
  }
  return undefined;
}
