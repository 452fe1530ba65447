import { createHash } from "node:crypto";
import { isAbsolute, join } from "node:path";
import { z } from "zod";
import { InstallError } from "../../pypi/install_error.ts";
import type { LibraryBuild } from "./builds.ts";

/**
 * The folder that keeps what is fetched once for all pipelines of a user:
 * `$DYLORA_CACHE`, else `$XDG_CACHE_HOME/dylora`, else `~/.cache/dylora`
 * (macOS: `~/Library/Caches/dylora`, Windows: `%LOCALAPPDATA%\dylora`).
 *
 * @throws {Error} If none of them is set.
 */
export function cacheFolder(
  env: (name: string) => string | undefined = Deno.env.get,
  os: typeof Deno.build.os = Deno.build.os,
): string {
  const own = env("DYLORA_CACHE");
  if (own) {
    if (!isAbsolute(own)) {
      throw new Error(`DYLORA_CACHE must be an absolute path, not "${own}"`);
    }
    return own;
  }
  const xdg = env("XDG_CACHE_HOME");
  // The XDG specification says to ignore a relative path.
  if (xdg && isAbsolute(xdg)) return join(xdg, "dylora");
  if (os === "windows") {
    const local = env("LOCALAPPDATA");
    if (local) return join(local, "dylora");
  }
  const home = env("HOME") || env("USERPROFILE");
  if (!home) {
    throw new Error("No folder for the cache is known: set DYLORA_CACHE");
  }
  return os === "darwin"
    ? join(home, "Library", "Caches", "dylora")
    : join(home, ".cache", "dylora");
}

const NAME = "installed.json";

const Marker = z.strictObject({
  version: z.string(),
  /** Wheels that it was made from, by hash. */
  wheels: z.array(z.strictObject({ file: z.string(), sha256: z.string() })),
  files: z.array(
    z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() }),
  ),
});

/** Record of an installation, inside its folder: what it was made from, and each file with its hash. */
type Marker = z.output<typeof Marker>;

/** Writes the record; the installation is complete with it. */
export async function writeMarker(
  folder: string,
  marker: Marker,
): Promise<void> {
  using file = await Deno.open(join(folder, NAME), {
    write: true,
    createNew: true,
  });
  const text = new TextEncoder().encode(JSON.stringify(marker, null, 2) + "\n");
  for (let done = 0; done < text.length;) {
    done += await file.write(text.subarray(done));
  }
  await file.sync();
}

/** Reads the record of an installation; undefined if there is none that can be read. */
function readMarker(folder: string): Marker | undefined {
  try {
    return Marker.parse(JSON.parse(Deno.readTextFileSync(join(folder, NAME))));
  } catch {
    return undefined; // Missing or damaged: not installed, and to be made anew.
  }
}

/** True if `folder` holds this build whole: same wheels, every file there with its size. */
export function isInstalled(folder: string, build: LibraryBuild): boolean {
  const marker = readMarker(folder);
  return marker !== undefined &&
    marker.wheels.length === build.wheels.length &&
    build.wheels.every(({ sha256 }, i) =>
      marker.wheels[i]?.sha256 === sha256
    ) &&
    marker.files.every(({ path, bytes }) =>
      sizeOf(join(folder, path)) === bytes
    );
}

function sizeOf(path: string): number | undefined {
  try {
    return Deno.statSync(path).size;
  } catch {
    return undefined; // Not there: the installation is not whole.
  }
}

/**
 * Hashes the files of an installation and compares them with its record.
 *
 * @returns Bytes of all files.
 * @throws {InstallError} `not-loadable`, if it is missing or damaged.
 */
export async function checkFiles(folder: string): Promise<number> {
  const marker = readMarker(folder);
  if (marker === undefined) {
    throw new InstallError(
      "not-loadable",
      `The engine's library is not installed in "${folder}"`,
      "Install it: deno task setup",
    );
  }
  let total = 0;
  for (const { path, bytes, sha256 } of marker.files) {
    if (await hashOf(join(folder, path)) !== sha256) {
      throw new InstallError(
        "not-loadable",
        `"${path}" in "${folder}" is missing or was changed since it was installed`,
        `Remove the folder and install it again: deno task setup`,
      );
    }
    total += bytes;
  }
  return total;
}

async function hashOf(path: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    using file = await Deno.open(path);
    for await (const chunk of file.readable) hash.update(chunk);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return hash.digest("hex");
}
