import { join } from "node:path";
import { canonicalJson } from "./canonical.ts";
import { digest } from "./digest.ts";

/** A file of an artifact. */
export interface TreeFile {
  /** Path below the artifact's folder, with forward slashes. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of its content. */
  readonly blob: string;
}

/** A folder that is to be an artifact holds something other than files. */
export class NotAFileError extends Error {
  override readonly name = "NotAFileError";
}

/** Digest of an artifact: of the paths and contents of its files, in whatever order they are given. */
export function treeDigest(files: readonly TreeFile[]): string {
  return digest(treeText(files));
}

/** The paths and contents of files as a text, of which `treeDigest()` is the digest. */
export function treeText(files: readonly TreeFile[]): string {
  return canonicalJson(
    files.map(({ path, blob }) => [path, blob])
      .sort(([a], [b]) => a! < b! ? -1 : 1),
  );
}

/**
 * Paths of all files below a folder, sorted, with forward slashes.
 *
 * @param links `refuse` throws at a symbolic link (artifacts hold none), `follow` takes what it points to.
 * @throws {NotAFileError} If there is something that is neither a file nor a folder.
 */
export function listFiles(
  folder: string,
  links: "refuse" | "follow",
): string[] {
  const found: string[] = [];
  walk(folder, "", links, [], found);
  return found.sort((a, b) => a < b ? -1 : 1);
}

function walk(
  root: string,
  below: string,
  links: "refuse" | "follow",
  above: readonly string[],
  found: string[],
): void {
  const folder = join(root, below);
  const trail = links === "follow" ? [...above, Deno.realPathSync(folder)] : [];
  if (new Set(trail).size < trail.length) {
    throw new NotAFileError(
      `Folder "${folder}" links to a folder that contains it`,
    );
  }
  for (const entry of Deno.readDirSync(folder)) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    const whole = join(root, path);
    if (entry.isSymlink && links === "refuse") {
      throw new NotAFileError(
        `"${whole}" is a symbolic link; an artifact holds files only`,
      );
    }
    const info = entry.isSymlink ? Deno.statSync(whole) : entry;
    if (info.isDirectory) walk(root, path, links, trail, found);
    else if (info.isFile) found.push(path);
    else throw new NotAFileError(`"${whole}" is neither a file nor a folder`);
  }
}
