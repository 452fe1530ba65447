import { dirname, join } from "../files/paths.ts";
import {
  canonicalJson,
  digest,
  digestFile,
  type FileDigest,
  isDigest,
} from "../files/digest.ts";
import {
  entriesBelow,
  linkOrCopy,
  removeIfThere,
  temporaryPath,
  writeAll,
} from "../files/files.ts";
import type { Stats } from "./stats.ts";

/** Number of files that are stored, or transferred, at the same time. */
const AT_A_TIME = 8;

/** Returns a function that runs at most {@linkcode AT_A_TIME} tasks at once. */
export function limited() {
  let free = AT_A_TIME;
  const waiting: (() => void)[] = [];
  return async <T>(work: () => Promise<T>): Promise<T> => {
    free--;
    if (free < 0) await new Promise<void>((go) => waiting.push(go));
    try {
      return await work();
    } finally {
      free++;
      waiting.shift()?.();
    }
  };
}

/**
 * Content-addressed files, named by their SHA-256: `blobs/ab/cdef...`. They are
 * read-only and never change.
 */
export class Blobs {
  constructor(readonly folder: string, private readonly stats: Stats) {}

  /** Path of a blob, whether it exists or not. */
  path(blob: string): string {
    return `${this.folder}/${blob.slice(0, 2)}/${blob.slice(2)}`;
  }

  /** All blobs. */
  all(): string[] {
    return entriesBelow(this.folder)
      .map(({ path }) => path.slice(this.folder.length).replaceAll("/", ""))
      .filter(isDigest).toArray();
  }

  /**
   * True if the blob exists and its content matches its digest. It is read only
   * if its size, mtime or inode have changed.
   */
  async holds(blob: string): Promise<boolean> {
    return await this.stats.digest(this.path(blob), "blob") === blob;
  }

  /**
   * Stores a copy of a file. The digest is that of the stored bytes, even if
   * the file changes in the meantime.
   */
  async put(path: string): Promise<FileDigest> {
    return await this.#import((copy) => Deno.copyFile(path, copy));
  }

  /**
   * Stores copies of files, as {@linkcode put} does, several at a time: the
   * disk flushes them together.
   */
  async putAll(paths: readonly string[]): Promise<FileDigest[]> {
    const limit = limited();
    const stored = paths.map((path) => limit(() => this.put(path)));
    // All have ended before an error is thrown: nobody removes a file that is
    // still read.
    await Promise.allSettled(stored);
    return await Promise.all(stored);
  }

  /** Stores text as UTF-8. */
  async putText(text: string): Promise<FileDigest> {
    const bytes = new TextEncoder().encode(text);
    const stored = { blob: await digest(bytes), size: bytes.length };
    return await this.holds(stored.blob)
      ? stored
      : await this.#import((copy) => Deno.writeFile(copy, bytes));
  }

  /**
   * Stores bytes that come from elsewhere; false if they are not the blob, or
   * not `size` bytes, so that nothing is stored.
   */
  async receive(
    blob: string,
    size: number,
    content: AsyncIterable<Uint8Array>,
  ): Promise<boolean> {
    const stored = await this.#import(async (path) => {
      using copy = await Deno.open(path, { write: true, createNew: true });
      let received = 0;
      for await (const piece of content) {
        received += piece.length;
        if (received > size) break;
        writeAll(copy, piece);
      }
    }, { blob, size });
    return stored.blob === blob && stored.size === size;
  }

  /** Text of a blob; undefined if it is missing or damaged. */
  async text(blob: string): Promise<string | undefined> {
    return await this.holds(blob)
      ? Deno.readTextFileSync(this.path(blob))
      : undefined;
  }

  /** Copies a blob to a new file, which its owner can edit. */
  async copyTo(blob: string, path: string): Promise<void> {
    Deno.mkdirSync(dirname(path), { recursive: true });
    await Deno.copyFile(this.path(blob), path);
    Deno.chmodSync(path, 0o666 & ~Deno.umask());
  }

  /**
   * Hard-links a blob to a new path, or copies it where the file system has no
   * hard links.
   */
  async linkTo(blob: string, path: string): Promise<void> {
    Deno.mkdirSync(dirname(path), { recursive: true });
    await linkOrCopy(this.path(blob), path);
  }

  /** Removes a blob, if it exists. */
  remove(blob: string): void {
    removeIfThere(this.path(blob));
  }

  /**
   * Gives the file that `write` makes the name of its digest when it is on the
   * disk; removes it if that is not the one `expected`, or not new.
   */
  async #import(
    write: (path: string) => Promise<void>,
    expected?: FileDigest,
  ): Promise<FileDigest> {
    Deno.mkdirSync(this.folder, { recursive: true });
    const temporary = temporaryPath(join(this.folder, "new"));
    try {
      await write(temporary);
      const stored = await digestFile(temporary);
      const { blob, size } = stored;
      const isExpected = expected === undefined ||
        blob === expected.blob && size === expected.size;
      if (isExpected && !await this.holds(blob)) {
        await flush(temporary);
        const path = this.path(blob);
        Deno.mkdirSync(dirname(path), { recursive: true });
        Deno.chmodSync(temporary, 0o444);
        Deno.renameSync(temporary, path);
        await flush(dirname(path));
      }
      return stored;
    } finally {
      removeIfThere(temporary);
    }
  }
}

/**
 * Writes what the system holds back of a file, or of the entries of a folder,
 * to the disk.
 */
async function flush(path: string): Promise<void> {
  using opened = await Deno.open(path);
  await opened.sync();
}

/** A file of an artifact. */
export interface TreeFile {
  /** Path below the artifact's folder, with forward slashes. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of its content. */
  readonly blob: string;
}

/**
 * Thrown when an artifact's folder contains something other than files and
 * folders.
 */
export class NotAFileError extends Error {
  override readonly name = "NotAFileError";
}

/**
 * Digest of an artifact: of the paths and contents of its files, independent of
 * their order.
 */
export async function treeDigest(
  files: readonly TreeFile[],
): Promise<string> {
  return await digest(treeText(files));
}

/**
 * Listing of files as text: canonical JSON of `[path, blob]` pairs, sorted by
 * path.
 */
export function treeText(files: readonly TreeFile[]): string {
  return canonicalJson(
    files.map(({ path, blob }) => [path, blob])
      .sort(([a], [b]) => a! < b! ? -1 : 1),
  );
}

/** Digests by path of the files in a listing of {@linkcode treeText}. */
export function filesIn(listing: string): Map<string, string> {
  return new Map(JSON.parse(listing) as [path: string, blob: string][]);
}

/**
 * Paths of all files below a folder, sorted, with forward slashes.
 *
 * @param links Whether symbolic links are an error (as in artifacts) or
 * followed.
 * @throws {NotAFileError} If an entry is neither a file nor a folder, or a link
 * leads to a folder that contains it.
 */
export function listFiles(
  folder: string,
  links: "refuse" | "follow",
): string[] {
  return listTree(folder, links).filter((path) => !path.endsWith("/"));
}

/**
 * As {@linkcode listFiles}, with the folders in it that are empty; their paths
 * end with a slash.
 */
export function listTree(
  folder: string,
  links: "refuse" | "follow",
): string[] {
  return [...walk(folder, links, [])].sort();
}

/**
 * @param above Real paths of the folders that contain this one, if links are
 * followed.
 */
function* walk(
  folder: string,
  links: "refuse" | "follow",
  above: readonly string[],
): Generator<string> {
  const trail = links === "follow" ? [...above, Deno.realPathSync(folder)] : [];
  if (new Set(trail).size < trail.length) {
    throw new NotAFileError(
      `Folder "${folder}" links to a folder that contains it`,
    );
  }
  for (const entry of Deno.readDirSync(folder)) {
    const { name } = entry;
    const path = join(folder, name);
    if (entry.isSymlink && links === "refuse") {
      throw new NotAFileError(
        `"${path}" is a symbolic link; artifacts may contain files and folders only`,
      );
    }
    const info = entry.isSymlink ? Deno.statSync(path) : entry;
    if (info.isFile) yield name;
    else if (!info.isDirectory) throw notAFile(path);
    else {
      const below = [...walk(path, links, trail)];
      yield* (below.length > 0 ? below : [""]).map((it) => `${name}/${it}`);
    }
  }
}

/** The error of a path that leads to something else, such as a pipe. */
export function notAFile(path: string): NotAFileError {
  return new NotAFileError(`"${path}" is neither a file nor a folder`);
}
