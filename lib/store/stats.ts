import { digestFile } from "./digest.ts";
import { ifThere, isMissing, statIfThere } from "./files.ts";
import type { Memo } from "./memo.ts";

/**
 * Metadata that shows whether a file may have changed, without reading it, as
 * git has it. `changed` (ctime) cannot be set by programs, so a copy that
 * preserves the modification time is noticed.
 */
export interface Fingerprint {
  /** Bytes. */
  readonly size: number;
  /** mtime, in milliseconds since 1970. */
  readonly modified: number;
  /** ctime, in milliseconds since 1970. */
  readonly changed: number;
  readonly inode: number;
}

/** Milliseconds within which a second write may leave the times of a file unchanged: two ticks of the coarsest file system. */
const TICK = 2_000;

/** Fingerprint of a file or folder; undefined if it does not exist. Symbolic links are followed. */
export function fingerprint(path: string): Fingerprint | undefined {
  return printOf(statIfThere(path));
}

/** As {@linkcode fingerprint}, but of a symbolic link itself. */
export function linkFingerprint(path: string): Fingerprint | undefined {
  return printOf(ifThere(() => Deno.lstatSync(path)));
}

function printOf(info: Deno.FileInfo | undefined): Fingerprint | undefined {
  return info && {
    size: info.size,
    modified: info.mtime?.getTime() ?? 0,
    changed: info.ctime?.getTime() ?? 0,
    inode: info.ino ?? 0,
  };
}

/** Bytes of a file; 0 if it does not exist. */
export function fileSize(path: string): number {
  return fingerprint(path)?.size ?? 0;
}

/** True if two fingerprints of a file show no change. */
export function same(a: Fingerprint, b: Fingerprint): boolean {
  return a.size === b.size && a.modified === b.modified &&
    a.changed === b.changed && a.inode === b.inode;
}

/**
 * True if any change after `at` (milliseconds since 1970) would show in the
 * fingerprint, because the last change before is longer ago than a tick. False
 * also after the clock was set back.
 */
export function settled(print: Fingerprint, at: number): boolean {
  return Math.max(print.modified, print.changed) + TICK <= at;
}

/** Digest of a file when it had a certain fingerprint: size, modified, changed, inode, blob. */
type Row = readonly [number, number, number, number, string];

/** Section of {@linkcode Memo}. */
const SECTION = "files";

/** What the digest of a file is for. A `blob` of the cache never changes; its ctime does, with every hard link to it. */
type Kind = "file" | "blob";

/**
 * Digests of files by path and fingerprint, so that unchanged files are not read
 * again. A file that was changed in the tick in which it is read ("racily
 * clean") is read again the next time.
 */
export class Stats {
  readonly #memo: Memo;

  constructor(memo: Memo) {
    this.#memo = memo;
  }

  /**
   * Digest of a file, which is read only if it may have changed; undefined if
   * it does not exist.
   *
   * @param path Absolute path.
   */
  async digest(
    path: string,
    kind: Kind = "file",
  ): Promise<string | undefined> {
    const found = fingerprint(path);
    if (found === undefined) return undefined;
    const print = kind === "blob" ? { ...found, changed: 0 } : found;
    const known = this.#memo.get<Row>(SECTION, path);
    if (known !== undefined) {
      const [size, modified, changed, inode, blob] = known;
      if (same(print, { size, modified, changed, inode })) return blob;
    }
    const at = Date.now();
    const read = await digestFile(path).catch((error) => {
      // Removed since the call of fingerprint().
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (read === undefined) return undefined;
    const { blob, size } = read;
    const after = fingerprint(path);
    const isStable = after !== undefined && same(found, after) &&
      size === found.size;
    if (isStable && settled(print, at)) {
      const row: Row = [size, print.modified, print.changed, print.inode, blob];
      this.#memo.set(SECTION, path, row);
    }
    return blob;
  }

  /** Forgets all files that no longer exist, and everything else in the memo. */
  async prune(): Promise<void> {
    await this.#memo.prune(SECTION, (path) => fingerprint(path) !== undefined);
  }
}
