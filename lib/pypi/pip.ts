import { delimiter, join } from "node:path";
import {
  diskFull,
  explainFileError,
  InstallError,
  type InstallErrorCode,
  throwIfInterrupted,
} from "./install_error.ts";

/** A Python whose pip works: `{ python: "/usr/bin/python3", version: "23.2.1" }`. */
export interface Pip {
  readonly python: string;
  readonly version: string;
}

/** First release that takes several `--platform` options. */
const OLDEST = [20, 3] as const;

const INSTALL_PIP =
  'Install Python 3 with pip ("apt-get install python3-pip", "dnf install python3-pip", "brew install python"), then try again';

/**
 * Finds a Python with pip: the first on PATH that has one, virtual
 * environments included, since nothing is ever installed into it.
 *
 * @throws {InstallError} `no-pip` or `old-pip`.
 */
export async function findPip(path = Deno.env.get("PATH") ?? ""): Promise<Pip> {
  const pythons = findPythons(path);
  if (pythons.length === 0) {
    throw new InstallError(
      "no-pip",
      "Python is not found on PATH",
      INSTALL_PIP,
    );
  }
  const tooOld: Pip[] = [];
  for (const python of pythons) {
    const version = await pipVersion(python);
    if (version === undefined) continue;
    if (isRecent(version)) return { python, version };
    tooOld.push({ python, version });
  }
  const [old] = tooOld;
  if (old !== undefined) {
    throw new InstallError(
      "old-pip",
      `pip ${old.version} of "${old.python}" is too old: ${
        OLDEST.join(".")
      } or later is needed`,
      `Update it: ${old.python} -m pip install --upgrade pip`,
    );
  }
  throw new InstallError(
    "no-pip",
    `Python has no pip (asked: ${
      pythons.map((python) => `"${python}"`).join(", ")
    })`,
    INSTALL_PIP,
  );
}

/** Files on PATH that may be a Python 3, in the order in which they are asked. Fast: looks at names only. */
export function findPythons(path: string): string[] {
  const names = Deno.build.os === "windows"
    ? ["python.exe", "python3.exe"]
    : ["python3", "python"];
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  return names.flatMap((name) => folders.map((folder) => join(folder, name)))
    .filter(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false; // Not there or not to be entered: either way it cannot be run.
  }
}

async function pipVersion(python: string): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(python, {
      args: ["-m", "pip", "--version"],
      stdin: "null",
      stderr: "null",
    }).output();
    if (!success) return undefined;
    return /^pip (\d+(?:\.\d+)*)/.exec(new TextDecoder().decode(stdout))?.[1];
  } catch {
    return undefined; // Cannot be started: the next one is asked.
  }
}

function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

/** A wheel of the package index. */
export interface WheelRequest {
  readonly name: string;
  readonly version: string;
  /** Hash that the file must have, in hexadecimal. */
  readonly sha256?: string;
  /** Name of the file, for a wheel of another Python or machine than pip's own. */
  readonly file?: string;
}

interface DownloadOptions {
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

/** What the file name of a wheel says: `NAME-VERSION-PYTHON-ABI-PLATFORMS.whl`. */
interface WheelName {
  readonly name: string;
  readonly version: string;
  /** `cp311`, `py3` */
  readonly python: string;
  /** `cp311`, `none` */
  readonly abi: string;
  /** `["manylinux2014_x86_64", "manylinux_2_17_x86_64"]` */
  readonly platforms: readonly string[];
}

/**
 * Takes a wheel's file name apart.
 *
 * @see https://packaging.python.org/en/latest/specifications/binary-distribution-format/
 * @throws {TypeError} If it is not the name of a wheel.
 */
export function parseWheelName(file: string): WheelName {
  const match =
    /^(?<name>[^-]+)-(?<version>[^-]+)(-\d[^-]*)?-(?<python>[^-]+)-(?<abi>[^-]+)-(?<platforms>[^-]+)\.whl$/
      .exec(file);
  if (match?.groups === undefined) {
    throw new TypeError(`"${file}" is not the name of a wheel`);
  }
  const { name, version, python, abi, platforms } = match.groups as Record<
    string,
    string
  >;
  return {
    name: name!.replaceAll("_", "-"),
    version: version!,
    python: python!,
    abi: abi!,
    platforms: platforms!.split("."),
  };
}

const OFFLINE =
  "Check the connection; behind a proxy, name it (HTTPS_PROXY or PIP_PROXY). Offline, put the wheel into a folder and name that: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER";

/** What pip writes when it fails, and what that means; the first that matches counts. */
const GLOSSARY: readonly {
  readonly pattern: RegExp;
  readonly code: InstallErrorCode;
  readonly problem: (wheel: string) => string;
  readonly remedy: string;
}[] = [
  {
    pattern: /DO NOT MATCH THE HASHES|HashMismatch/,
    code: "wrong-hash",
    problem: (wheel) =>
      `The download of ${wheel} is not the file that was published (its hash differs)`,
    remedy:
      "Try again; if it stays so, the mirror or proxy in between serves a changed file: name another with PIP_INDEX_URL",
  },
  {
    pattern: /CERTIFICATE_VERIFY_FAILED|SSLError/,
    code: "certificate",
    problem: (wheel) =>
      `pip does not trust the certificate of the server that offers ${wheel}`,
    remedy: "Behind a company proxy, name its certificate: PIP_CERT=FILE.pem",
  },
  {
    pattern:
      /ProxyError|Tunnel connection failed|NewConnectionError|NameResolutionError|name resolution|Connect(ion)?TimeoutError|ReadTimeout|ProtocolError|IncompleteRead|Connection (aborted|refused|reset|broken)|Network is unreachable/i,
    code: "network",
    problem: (wheel) =>
      `pip cannot download ${wheel}: the package index does not answer`,
    remedy: OFFLINE,
  },
  {
    pattern: /EOFError|40[137] .*(Error|Unauthorized|Forbidden)/,
    code: "credentials",
    problem: (wheel) => `The package index refuses to give ${wheel}`,
    remedy: "Check the index and its credentials: python3 -m pip config list",
  },
  {
    pattern: /No matching distribution found|Could not find a version/,
    code: "not-found",
    problem: (wheel) =>
      `The package index that pip is set to use does not have ${wheel}`,
    remedy:
      "Look at its settings (python3 -m pip config list), or name another index with PIP_INDEX_URL",
  },
];

/** Turns a failed run of pip into an error with advice. */
function explainPipFailure(
  output: string,
  wheel: string,
  folder: string,
): InstallError {
  if (/\[Errno (28|122)\]/.test(output)) return diskFull(folder);
  const known = GLOSSARY.find(({ pattern }) => pattern.test(output));
  const cause = new Error(lastLines(output));
  if (known !== undefined) {
    return new InstallError(known.code, known.problem(wheel), known.remedy, {
      cause,
    });
  }
  return new InstallError(
    "pip",
    `pip could not download ${wheel}:\n${cause.message}`,
    "Try the same by hand to find out more: python3 -m pip download --no-deps " +
      wheel,
    { cause },
  );
}

function lastLines(output: string): string {
  return output.trimEnd().split("\n").slice(-8).join("\n");
}
