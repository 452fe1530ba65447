/**
 * Paths as `node:path` computes them on POSIX systems, apart from a slash at
 * the end, which is dropped. Modules that a run with nothing to do loads take
 * them from here: the first `node:` module of a process takes 8 ms to load,
 * more than a tenth of such a run.
 */

/** A path without empty and `.` parts, and with `..` only at its start. */
function normalize(path: string): string {
  const isAbsolute = path.startsWith("/");
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    const last = parts.at(-1);
    if (part !== "..") parts.push(part);
    else if (last !== undefined && last !== "..") parts.pop();
    else if (!isAbsolute) parts.push(part);
  }
  return isAbsolute ? `/${parts.join("/")}` : parts.join("/") || ".";
}

/** Joins parts to a path. */
export function join(...parts: readonly string[]): string {
  return normalize(parts.filter((part) => part !== "").join("/"));
}

/** A path relative to an absolute folder as an absolute path. */
export function resolve(folder: string, path: string): string {
  return path.startsWith("/") ? normalize(path) : join(folder, path);
}

/** The path from an absolute folder to an absolute path. */
export function relative(folder: string, path: string): string {
  const from = partsOf(folder);
  const to = partsOf(path);
  let shared = 0;
  while (shared < from.length && from[shared] === to[shared]) shared++;
  return [...from.slice(shared).map(() => ".."), ...to.slice(shared)].join("/");
}

/** An absolute path, relative to an absolute folder if it is below that. */
export function relativeIfBelow(folder: string, path: string): string {
  const below = relative(folder, path);
  return below.startsWith("..") ? path : below;
}

function partsOf(path: string): string[] {
  return normalize(path).split("/").filter((part) => part !== "");
}

/**
 * The folder that contains a file or folder, whose path does not end in a
 * slash.
 */
export function dirname(path: string): string {
  const end = path.lastIndexOf("/");
  return end < 0 ? "." : path.slice(0, end) || "/";
}

/** The name of a file or folder, whose path does not end in a slash. */
export function basename(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The path of a `file:` URL. */
export function fromFileUrl(url: string): string {
  return decodeURIComponent(new URL(url).pathname);
}
