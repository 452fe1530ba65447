import { join } from "node:path";
import { explainFileError, throwIfInterrupted } from "./install_error.ts";
import { findPip, type Pip } from "./pip.ts";
import { explainPipFailure } from "./pip_failure.ts";
import { parseWheelName } from "./wheel_name.ts";

/** A wheel of the package index. */
export interface WheelRequest {
  readonly name: string;
  readonly version: string;
  /** Hash that the file must have, in hexadecimal. */
  readonly sha256?: string;
  /** Name of the file, for a wheel of another Python or machine than pip's own. */
  readonly file?: string;
}

export interface DownloadOptions {
  /** Told the bytes that have arrived so far, some times a second. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
  /** Found on PATH if left out. */
  readonly pip?: Pip;
}

/**
 * Downloads a wheel with pip, which brings the user's own settings along:
 * mirrors, proxies, certificates, credentials, folders of wheels.
 *
 * pip's cache stays out of it: the caller keeps what it needs, and a second
 * copy of a large wheel serves nobody.
 *
 * @param folder An existing, empty folder; partial downloads stay inside, too.
 * @returns Path of the wheel.
 * @throws {InstallError} With the remedy.
 */
export async function downloadWheel(
  request: WheelRequest,
  folder: string,
  { onBytes, signal, pip }: DownloadOptions = {},
): Promise<string> {
  throwIfInterrupted(signal);
  const { python } = pip ?? await findPip();
  const wheel = `${request.name}==${request.version}`;
  const hash = request.sha256 === undefined
    ? ""
    : ` --hash=sha256:${request.sha256}`;
  const requirements = join(folder, "requirements.txt");
  const partial = join(folder, "partial");
  const whole = join(folder, "whole");
  let output: string;
  let success: boolean;
  try {
    await Deno.mkdir(partial);
    await Deno.writeTextFile(requirements, `${wheel}${hash}\n`);
    const child = new Deno.Command(python, {
      args: [
        ...[
          "-m",
          "pip",
          "download",
          "--requirement",
          requirements,
          "--dest",
          whole,
        ],
        ...["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"],
        ...["--progress-bar", "off", "--disable-pip-version-check"],
        ...targetOptions(request),
      ],
      // `-m` looks into the working folder first: an empty one of ours.
      cwd: partial,
      env: { TMPDIR: partial, LC_ALL: "C", PIP_REQUIRE_VIRTUALENV: "0" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      ...(signal && { signal }),
    }).spawn();
    const watch = setInterval(
      () => onBytes?.(bytesIn(partial) + bytesIn(whole)),
      200,
    );
    try {
      const result = await child.output();
      success = result.success;
      output = [result.stdout, result.stderr].map((text) =>
        new TextDecoder().decode(text)
      ).join("");
    } finally {
      clearInterval(watch);
    }
  } catch (error) {
    throw explainFileError(error, folder);
  }
  throwIfInterrupted(signal);
  if (!success) throw explainPipFailure(output, wheel, folder);
  const [file] = [...Deno.readDirSync(whole)];
  if (file === undefined) throw explainPipFailure(output, wheel, folder);
  return join(whole, file.name);
}

function targetOptions({ file }: WheelRequest): string[] {
  if (file === undefined) return [];
  const { python, abi, platforms } = parseWheelName(file);
  // A wheel for every Python 3 (`py3-none`) is found with any version.
  const version = /^cp(\d)(\d+)$/.exec(python);
  return [
    "--implementation=cp",
    ...(version === null
      ? []
      : [`--python-version=${version[1]}.${version[2]}`, `--abi=${abi}`]),
    ...platforms.map((platform) => `--platform=${platform}`),
  ];
}

/** Bytes in a folder that another process is writing, so files may vanish under the hand. */
function bytesIn(folder: string): number {
  let bytes = 0;
  try {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      const path = join(folder, name);
      bytes += isDirectory ? bytesIn(path) : Deno.lstatSync(path).size;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return bytes;
}
