import { basename, dirname, join } from "node:path";
import {
  explainFileError,
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
import { inspectInstallation, writeMarker } from "./folder.ts";

/** Progress of an installation. */
interface InstallProgress {
  readonly step: "wait" | "download" | "unpack" | "check";
  /** What is downloaded or unpacked (`tensorflow-cpu 2.21.0`), checked, or waited for. */
  readonly subject: string;
  /** Bytes. */
  readonly done: number;
  /** Bytes; 0 for a step without a size. */
  readonly total: number;
}

/** Options of {@linkcode installLibrary}. */
export interface InstallOptions {
  readonly onProgress?: ((progress: InstallProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Default: {@linkcode findPip}. */
  readonly pip?: Pip;
  /** Called with the complete folder before it is put in place; throws if the library cannot be used. */
  readonly verify?: ((folder: string) => Promise<unknown>) | undefined;
  /** True to hash the files of an existing installation even if they look unchanged. */
  readonly thorough?: boolean;
  /** Called with the path of a damaged file before its installation is replaced. */
  readonly onDamage?: ((path: string) => void) | undefined;
}

/**
 * Installs a build of libtensorflow into the cache, unless it is installed and
 * undamaged.
 *
 * The files are assembled in a staging folder, which is renamed when it is
 * complete, so an interruption at any moment leaves the previous state or a
 * complete installation. If another process is installing, this one waits.
 *
 * @returns The folder that contains `tensorflow/` and, with CUDA, `nvidia/`.
 * @throws {InstallError} If the installation fails or is interrupted.
 */
export async function installLibrary(
  build: LibraryBuild,
  cache: string,
  options: InstallOptions = {},
): Promise<string> {
  const { wheels, version } = build;
  const folder = join(cache, folderName(build));
  const found = await inspectInstallation(folder, wheels, options.thorough);
  if (found.state === "intact") return folder;
  if (found.state === "damaged") options.onDamage?.(found.path);
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
    const again = await inspectInstallation(folder, wheels, options.thorough);
    if (again.state === "intact") return folder;
    const staging = `${folder}.part-${Deno.pid}`;
    await Deno.mkdir(staging);
    try {
      const files = await fetchFiles(build, staging, report, options);
      report({ step: "check", subject: "the library", done: 0, total: 0 });
      await options.verify?.(staging);
      await writeMarker(staging, {
        version,
        wheels: wheels.map(({ file, sha256 }) => ({ file, sha256 })),
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
        select: isNeeded,
        signal,
        onBytes: (done) =>
          report({ step: "unpack", subject, done, total: wheel.unpacked }),
      }),
    );
    await Deno.remove(downloads, { recursive: true });
  }
  return files;
}

/** Renames the staging folder to its final name, after moving a damaged installation away. */
async function putInPlace(staging: string, folder: string): Promise<void> {
  try {
    await Deno.rename(folder, `${folder}.part-damaged`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await Deno.rename(staging, folder);
}

/** Removes what failed and killed installations left behind. Call it with the lock held. */
async function removeLeftovers(folder: string): Promise<void> {
  const prefix = `${basename(folder)}.part-`;
  for await (const { name } of Deno.readDir(dirname(folder))) {
    if (name.startsWith(prefix)) {
      await Deno.remove(join(dirname(folder), name), { recursive: true });
    }
  }
}

/**
 * Takes a lock that one process holds at a time. The kernel releases it when
 * the process ends, so no lock can be stale.
 *
 * @param onWait Called once if another process holds the lock.
 * @returns The lock; disposing of it releases it.
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
