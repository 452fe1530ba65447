import { join } from "node:path";
import { explainWriteFault } from "../../pypi/remedied_error.ts";
import { downloadWheel, findPip } from "../../pypi/pip.ts";
import { type UnpackedFile, unpackWheel } from "../../pypi/wheel.ts";
import { folderName, isNeeded, type LibraryBuild } from "./builds.ts";
import { removeFolder } from "../../files/files.ts";
import { lockFile } from "../../files/locks.ts";
import { inspectInstallation, writeMarker } from "./folder.ts";

export interface InstallProgress {
  readonly step: "wait" | "download" | "unpack" | "check";
  /**
   * What is downloaded or unpacked (`tensorflow-cpu 2.21.0`), checked, or
   * waited for.
   */
  readonly subject: string;
  /** Bytes. */
  readonly done: number;
  /** Bytes; 0 for a step without a size. */
  readonly total: number;
}

export interface InstallOptions {
  readonly onProgress?: ((progress: InstallProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Path of a Python with pip. Default: {@linkcode findPip}. */
  readonly pip?: string;
  /**
   * Called with the complete folder before it is put in place; throws if the
   * library cannot be used.
   */
  readonly verify?: ((folder: string) => Promise<unknown>) | undefined;
  /**
   * True to hash the files of an existing installation even if they look
   * unchanged.
   */
  readonly thorough?: boolean;
  /**
   * Called with the path of a damaged file before its installation is replaced.
   */
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
 * @throws {RemediedError} If the installation fails.
 */
export async function installLibrary(
  build: LibraryBuild,
  cache: string,
  options: InstallOptions = {},
): Promise<string> {
  const { wheels, version } = build;
  const folder = join(cache, folderName(build));
  const report = options.onProgress ?? (() => {});
  try {
    await Deno.mkdir(cache, { recursive: true });
    using _lock = await lockFile(`${folder}.lock`, {
      signal: options.signal,
      onWait: (subject) => report({ step: "wait", subject, done: 0, total: 0 }),
    });
    const installation = await inspectInstallation(
      folder,
      wheels,
      options.thorough,
    );
    if (installation.state === "intact") return folder;
    if (installation.state === "damaged") options.onDamage?.(installation.path);
    const staging = `${folder}.part`;
    removeFolder(staging);
    await Deno.mkdir(staging);
    try {
      const files = await fetchFiles(build, staging, report, options);
      report({ step: "check", subject: "the library", done: 0, total: 0 });
      await options.verify?.(staging);
      await writeMarker(staging, { version, wheels, files });
      removeFolder(folder);
      await Deno.rename(staging, folder);
    } finally {
      removeFolder(staging);
    }
  } catch (error) {
    options.signal?.throwIfAborted();
    throw explainWriteFault(error, cache, "DYLORA_CACHE");
  }
  return folder;
}

async function fetchFiles(
  { wheels }: LibraryBuild,
  staging: string,
  report: (progress: InstallProgress) => void,
  { signal, pip }: InstallOptions,
): Promise<UnpackedFile[]> {
  const python = pip ?? await findPip();
  const downloads = join(staging, "download");
  const files: UnpackedFile[] = [];
  for (const [i, wheel] of wheels.entries()) {
    const count = wheels.length > 1 ? ` (${i + 1} of ${wheels.length})` : "";
    const reporter =
      (step: "download" | "unpack", total: number) => (bytes: number) =>
        report({
          step,
          subject: `${wheel.name} ${wheel.version}${count}`,
          done: Math.min(bytes, total),
          total,
        });
    await Deno.mkdir(downloads);
    const path = await downloadWheel(wheel, downloads, {
      pip: python,
      signal,
      onBytes: reporter("download", wheel.bytes),
    });
    const unpacked = await unpackWheel(path, staging, {
      select: (paths) => paths.filter(isNeeded),
      signal,
      onBytes: reporter("unpack", wheel.unpacked),
    });
    files.push(...unpacked);
    await Deno.remove(downloads, { recursive: true });
  }
  return files;
}
