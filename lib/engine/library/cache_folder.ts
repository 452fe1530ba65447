import { isAbsolute, join } from "node:path";

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
