import { isAbsolute, join } from "node:path";
import * as z from "zod";
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
    throw new Error(
      "Cannot find a cache folder: neither HOME nor XDG_CACHE_HOME is set; set DYLORA_CACHE",
    );
  }
  return os === "darwin"
    ? join(home, "Library", "Caches", "dylora")
    : join(home, ".cache", "dylora");
}

const NAME = "installed.json";

/** Record in the folder of an installation: its wheels and files, with their hashes. */
const Marker = z.strictObject({
  version: z.string(),
  /** Wheels that the files come from. */
  wheels: z.array(z.object({ sha256: z.string() })).readonly(),
  files: z.array(
    z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() }),
  ),
});

type Marker = z.output<typeof Marker>;

/** Writes the record of an installation; the last step that makes it complete. */
export async function writeMarker(
  folder: string,
  marker: z.input<typeof Marker>,
): Promise<void> {
  const text = JSON.stringify(marker, null, 2) + "\n";
  await Deno.writeTextFile(join(folder, NAME), text, { createNew: true });
}

/** Reads the record of an installation; undefined if it is missing or damaged. */
function readMarker(folder: string): Marker | undefined {
  try {
    return Marker.parse(JSON.parse(Deno.readTextFileSync(join(folder, NAME))));
  } catch {
    return undefined; // Missing or damaged: treated as not installed.
  }
}

/** State of an installation. */
type Installation =
  /** With the total size of its files, in bytes. */
  | { readonly state: "intact"; readonly bytes: number }
  | { readonly state: "missing" }
  /** A file is missing or differs from what was installed. */
  | { readonly state: "damaged"; readonly path: string };

/**
 * Compares an installation with its record. Files are hashed if their size,
 * inode and times differ from those at the last comparison, which are noted in
 * the folder, or if `thorough` is set.
 *
 * @param wheels Those that it must come from; by default any
 */
export async function inspectInstallation(
  folder: string,
  wheels: LibraryBuild["wheels"] | undefined,
  thorough = false,
): Promise<Installation> {
  const marker = readMarker(folder);
  const hashes = (of: readonly { readonly sha256: string }[]) =>
    of.map(({ sha256 }) => sha256).join();
  if (
    marker === undefined ||
    hashes(wheels ?? marker.wheels) !== hashes(marker.wheels)
  ) return { state: "missing" };
  const known = thorough ? undefined : readPrints(folder);
  const prints: Record<string, Print> = {};
  for (const { path, bytes, sha256 } of marker.files) {
    const file = join(folder, path);
    const print = printOf(file);
    if (print?.[0] !== bytes) return { state: "damaged", path };
    if (
      known?.[path]?.join() !== print.join() &&
      await fileDigest(file) !== sha256
    ) return { state: "damaged", path };
    prints[path] = print;
  }
  if (JSON.stringify(prints) !== JSON.stringify(known)) {
    await writePrints(folder, prints);
  }
  const bytes = marker.files.reduce((sum, { bytes }) => sum + bytes, 0);
  return { state: "intact", bytes };
}

/** SHA-256 of a file in hexadecimal digits. */
async function fileDigest(path: string): Promise<string> {
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  for await (const chunk of (await Deno.open(path)).readable) {
    hash.update(chunk);
  }
  return hash.digest("hex");
}

/** Size, mtime, ctime and inode of a file. Any change shows in it, since programs cannot set the ctime. */
type Print = [size: number, modified: number, changed: number, inode: number];

function printOf(path: string): Print | undefined {
  try {
    const { size, mtime, ctime, ino } = Deno.statSync(path);
    return [size, Number(mtime), Number(ctime), ino ?? 0];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Name of the note of what the files looked like when their hashes were right. */
const PRINTS = "verified.json";

function readPrints(folder: string): Record<string, Print> | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(join(folder, PRINTS)));
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound || error instanceof SyntaxError
    ) return undefined;
    throw error;
  }
}

async function writePrints(
  folder: string,
  prints: Readonly<Record<string, Print>>,
): Promise<void> {
  const temporary = join(folder, `${PRINTS}.${crypto.randomUUID()}`);
  try {
    await Deno.writeTextFile(temporary, JSON.stringify(prints));
    await Deno.rename(temporary, join(folder, PRINTS));
  } catch (error) {
    // Another user's installation, whose files are hashed each time.
    const isReadOnly = error instanceof Deno.errors.PermissionDenied ||
      /\(os error 30\)/.test(String(error));
    if (!isReadOnly) throw error;
  }
}
