import { isAbsolute, join } from "node:path";
import { z } from "zod";
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

const markerSchema = z.strictObject({
  version: z.string(),
  /** Wheels that the files come from. */
  wheels: z.array(z.strictObject({ file: z.string(), sha256: z.string() })),
  files: z.array(
    z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() }),
  ),
});

/** Record in the folder of an installation: its wheels and files, with their hashes. */
type Marker = z.output<typeof markerSchema>;

/** Writes the record of an installation; the last step that makes it complete. */
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

/** Reads the record of an installation; undefined if it is missing or damaged. */
export function readMarker(folder: string): Marker | undefined {
  try {
    return markerSchema.parse(
      JSON.parse(Deno.readTextFileSync(join(folder, NAME))),
    );
  } catch {
    return undefined; // Missing or damaged: treated as not installed.
  }
}

/** True if `folder` holds a complete installation of this build: the same wheels, and every file with its size. */
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
    return undefined; // Missing: the installation is incomplete.
  }
}
