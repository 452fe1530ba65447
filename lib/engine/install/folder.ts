import { isAbsolute, join } from "node:path";
import * as z from "zod";
import { digestFile } from "../../files/digest.ts";
import { isReadOnly, readIfThere, writeDurably } from "../../files/files.ts";
import { fingerprint } from "../../files/fingerprints.ts";
import type { LibraryBuild } from "./builds.ts";

/**
 * The user's cache folder, shared by all pipelines: `$DYLORA_CACHE`, else
 * `$XDG_CACHE_HOME/dylora`, else `~/.cache/dylora` (macOS:
 * `~/Library/Caches/dylora`, Windows: `%LOCALAPPDATA%\dylora`).
 *
 * @throws {Error} If DYLORA_CACHE is a relative path, or no variable is set.
 */
export function cacheFolder(
  env: (name: string) => string | undefined = Deno.env.get,
  os: typeof Deno.build.os = Deno.build.os,
): string {
  const cache = env("DYLORA_CACHE");
  if (cache) {
    if (!isAbsolute(cache)) {
      throw new Error(`DYLORA_CACHE must be an absolute path, not "${cache}"`);
    }
    return cache;
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
    throw new Error(
      "Cannot find a cache folder: neither HOME nor XDG_CACHE_HOME is set; set DYLORA_CACHE",
    );
  }
  return os === "darwin"
    ? join(home, "Library", "Caches", "dylora")
    : join(home, ".cache", "dylora");
}

const NAME = "installed.json";

/**
 * Record in the folder of an installation: its wheels and files, with their
 * hashes.
 */
const Marker = z.strictObject({
  version: z.string(),
  /** Wheels that the files come from. */
  wheels: z.array(z.object({ sha256: z.string() })).readonly(),
  files: z.array(
    z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() }),
  ),
});

type Marker = z.output<typeof Marker>;

/**
 * Writes the record of an installation; the last step that makes it complete.
 */
export async function writeMarker(
  folder: string,
  marker: z.input<typeof Marker>,
): Promise<void> {
  const text = JSON.stringify(marker, null, 2) + "\n";
  await Deno.writeTextFile(join(folder, NAME), text, { createNew: true });
}

/**
 * Reads the record of an installation; undefined if it is missing or damaged.
 */
function readMarker(folder: string): Marker | undefined {
  try {
    return Marker.parse(JSON.parse(Deno.readTextFileSync(join(folder, NAME))));
  } catch {
    return undefined; // Missing or damaged: treated as not installed.
  }
}

/**
 * Name of the note of what the files looked like when their hashes were right.
 */
const NOTE = "verified.json";

/**
 * Compares an installation with its record. The files are hashed if a size,
 * inode or time differs from those at the last comparison, which are noted in
 * the folder, or if `thorough` is set.
 *
 * @param wheels Those that it must come from; by default any
 * @returns With the total size of its files, in bytes, or one that is missing
 * or differs from what was installed
 */
export async function inspectInstallation(
  folder: string,
  wheels: LibraryBuild["wheels"] | undefined,
  thorough = false,
) {
  const marker = readMarker(folder);
  const hashes = (of: readonly { readonly sha256: string }[]) =>
    of.map(({ sha256 }) => sha256).join();
  if (
    marker === undefined ||
    hashes(wheels ?? marker.wheels) !== hashes(marker.wheels)
  ) return { state: "missing" } as const;
  const { files } = marker;
  const intact = {
    state: "intact",
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
  } as const;
  // Any change shows in it, since programs cannot set the ctime.
  const prints = files.map(({ path }) =>
    [path, fingerprint(join(folder, path))] as const
  );
  const note = JSON.stringify(Object.fromEntries(prints));
  const checkedNote = readIfThere(join(folder, NOTE));
  if (!thorough && note === checkedNote) return intact;
  const absent = prints.find(([, print]) => print === undefined);
  const damaged = (path: string) => ({ state: "damaged", path }) as const;
  if (absent !== undefined) return damaged(absent[0]);
  for (const { path, sha256 } of files) {
    if ((await digestFile(join(folder, path))).blob !== sha256) {
      return damaged(path);
    }
  }
  if (note === checkedNote) return intact;
  try {
    writeDurably(join(folder, NOTE), note);
  } catch (error) {
    // Another user's installation, whose files are hashed each time.
    if (!isReadOnly(error)) throw error;
  }
  return intact;
}
