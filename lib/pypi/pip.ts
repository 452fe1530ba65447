import { delimiter, join } from "node:path";
import { InstallError } from "./install_error.ts";

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
