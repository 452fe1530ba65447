import { delimiter, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  diskFull,
  explainFileError,
  InstallError,
  type InstallErrorCode,
  throwIfInterrupted,
} from "./install_error.ts";
import { projectFolder } from "./project.ts";

/** A Python with a working pip: `{ python: "/usr/bin/python3", version: "23.2.1" }`. */
export interface Pip {
  readonly python: string;
  readonly version: string;
}

/** First release of pip that accepts several `--platform` options. */
const OLDEST = [20, 3] as const;

const INSTALL_PIP =
  'Install Python 3 with pip ("apt-get install python3-pip", "dnf install python3-pip" or "brew install python"), then try again';

/**
 * Finds the first Python on PATH that has pip. Virtual environments count:
 * nothing is installed into them.
 *
 * @throws {InstallError} `no-pip` or `old-pip`.
 */
export async function findPip(path = Deno.env.get("PATH") ?? ""): Promise<Pip> {
  const pythons = findPythons(path);
  if (pythons.length === 0) {
    throw new InstallError(
      "no-pip",
      "Cannot find Python on PATH",
      INSTALL_PIP,
    );
  }
  let tooOld: Pip | undefined;
  for (const python of pythons) {
    const version = await pipVersion(python);
    if (version === undefined) continue;
    if (isRecent(version)) return { python, version };
    tooOld ??= { python, version };
  }
  if (tooOld !== undefined) {
    throw new InstallError(
      "old-pip",
      `pip ${tooOld.version} of "${tooOld.python}" is too old; version ${
        OLDEST.join(".")
      } or later is required`,
      `Update it: ${tooOld.python} -m pip install --upgrade pip`,
    );
  }
  throw new InstallError(
    "no-pip",
    `No Python on PATH has pip (tried ${
      pythons.map((python) => `"${python}"`).join(", ")
    })`,
    INSTALL_PIP,
  );
}

/** Files on PATH with the names of Python 3, in order of preference; none of them is run. */
export function findPythons(path: string): string[] {
  const folders = path.split(delimiter).filter((folder) => folder !== "");
  return ["python3", "python"]
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .filter(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false; // Absent or inaccessible: it cannot be run.
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
    return undefined; // Not executable: try the next one.
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
  /** Expected SHA-256 of the file, in hexadecimal. */
  readonly sha256?: string;
  /** File name, to select a wheel for another Python or platform than pip's own. */
  readonly file?: string;
}

/** Options of {@linkcode downloadWheel}. */
interface DownloadOptions {
  /** Called several times a second with the number of bytes received so far. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
  /** Default: {@linkcode findPip}. */
  readonly pip?: Pip;
}

/**
 * Downloads a wheel with pip and the user's own settings of pip: mirrors,
 * proxies, certificates, credentials, local folders of wheels.
 *
 * pip's cache is not used: the caller stores what it needs, and wheels of
 * libtensorflow are too large to store twice.
 *
 * @param folder An existing, empty folder, which also holds partial downloads.
 * @returns Path of the wheel.
 * @throws {InstallError} If the download fails.
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
        ...["-m", "pip", "download"],
        ...["--requirement", requirements, "--dest", whole],
        ...["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"],
        ...["--progress-bar", "off", "--disable-pip-version-check"],
        ...targetOptions(request),
      ],
      // Python's `-m` searches the working folder first, so it must be empty.
      cwd: partial,
      env: {
        ...absolutePaths(),
        TMPDIR: partial,
        LC_ALL: "C",
        PIP_REQUIRE_VIRTUALENV: "0",
      },
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

/** The user's variables of pip that have relative paths, with absolute ones: pip runs in another folder. */
function absolutePaths(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ["PIP_CERT", "PIP_CLIENT_CERT", "PIP_CONFIG_FILE"]) {
    const path = Deno.env.get(name);
    if (path && !path.startsWith("~")) {
      found[name] = resolve(projectFolder(), path);
    }
  }
  const links = Deno.env.get("PIP_FIND_LINKS")?.split(/\s+/).filter(Boolean);
  if (links?.length) {
    // As an address, since pip splits the variable at spaces.
    found.PIP_FIND_LINKS = links.map((link) =>
      /^([~/\\]|[a-z][\w+.-]*:)/i.test(link)
        ? link
        : pathToFileURL(resolve(projectFolder(), link)).href
    ).join(" ");
  }
  return found;
}

function targetOptions({ file }: WheelRequest): string[] {
  if (file === undefined) return [];
  const { python, abi, platforms } = parseWheelName(file);
  // pip finds a wheel for any Python 3 (`py3-none`) without a version.
  const version = /^cp(\d)(\d+)$/.exec(python);
  return [
    "--implementation=cp",
    ...(version === null
      ? []
      : [`--python-version=${version[1]}.${version[2]}`, `--abi=${abi}`]),
    ...platforms.map((platform) => `--platform=${platform}`),
  ];
}

/** Size in bytes of a folder that another process writes to; its files may disappear meanwhile. */
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

/** Parts of a wheel's file name: `NAME-VERSION-PYTHON-ABI-PLATFORMS.whl`. */
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
 * Parses the file name of a wheel.
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

/** Known failures of pip: a pattern of its output and the explanation. The first match wins. */
const PIP_FAILURES: readonly {
  readonly pattern: RegExp;
  readonly code: InstallErrorCode;
  readonly problem: (wheel: string) => string;
  readonly remedy: string;
}[] = [
  {
    pattern: /DO NOT MATCH THE HASHES|HashMismatch/,
    code: "wrong-hash",
    problem: (wheel) =>
      `The downloaded file of ${wheel} does not have the expected SHA-256 hash`,
    remedy:
      "Try again; if it fails again, a mirror or proxy serves a modified file: set PIP_INDEX_URL to another index",
  },
  {
    pattern: /CERTIFICATE_VERIFY_FAILED|SSLError/,
    code: "certificate",
    problem: (wheel) =>
      `pip cannot download ${wheel}: it does not trust the server's certificate`,
    remedy:
      "Behind a company proxy, set PIP_CERT to the file of its certificate (PIP_CERT=FILE.pem)",
  },
  {
    pattern:
      /ProxyError|Tunnel connection failed|NewConnectionError|NameResolutionError|name resolution|Connect(ion)?TimeoutError|ReadTimeout|ProtocolError|IncompleteRead|Connection (aborted|refused|reset|broken)|Network is unreachable/i,
    code: "network",
    problem: (wheel) =>
      `pip cannot download ${wheel}: the package index does not respond`,
    remedy:
      "Check the network connection; behind a proxy, set HTTPS_PROXY or PIP_PROXY. Offline, put the wheel into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER",
  },
  {
    pattern: /EOFError|40[137] .*(Error|Unauthorized|Forbidden)/,
    code: "credentials",
    problem: (wheel) =>
      `pip cannot download ${wheel}: the package index denies access`,
    remedy: "Check pip's index and its credentials: python3 -m pip config list",
  },
  {
    pattern: /No matching distribution found|Could not find a version/,
    code: "not-found",
    problem: (wheel) => `pip's package index does not have ${wheel}`,
    remedy:
      "Check pip's settings (python3 -m pip config list), or set PIP_INDEX_URL to another index",
  },
];

/** Turns the output of a failed pip into an error with a remedy. */
function explainPipFailure(
  output: string,
  wheel: string,
  folder: string,
): InstallError {
  if (/\[Errno (28|122)\]/.test(output)) return diskFull(folder);
  const cause = new Error(output.trimEnd().split("\n").slice(-8).join("\n"));
  const known = PIP_FAILURES.find(({ pattern }) => pattern.test(output));
  if (known !== undefined) {
    return new InstallError(known.code, known.problem(wheel), known.remedy, {
      cause,
    });
  }
  return new InstallError(
    "pip",
    `pip cannot download ${wheel}:\n${cause.message}`,
    `Run it by hand for details: python3 -m pip download --no-deps ${wheel}`,
    { cause },
  );
}
