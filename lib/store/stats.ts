import { digestFile } from "../files/digest.ts";
import { fingerprint, same, settled } from "../files/fingerprints.ts";
import type { Memo } from "./memo.ts";

/**
 * Digest of a file when it had a certain fingerprint: size, modified, changed,
 * inode, blob.
 */
type Row = readonly [number, number, number, number, string];

/** Section of {@linkcode Memo}. */
const SECTION = "files";

/**
 * What the digest of a file is for. A `blob` of the cache never changes; its
 * ctime does, with every hard link to it.
 */
type Kind = "file" | "blob";

/**
 * Digests of files by path and fingerprint, so that unchanged files are not
 * read again. A file that was changed in the tick in which it is read ("racily
 * clean") is read again the next time.
 */
export class Stats {
  constructor(private readonly memo: Memo) {}

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
    const current = fingerprint(path);
    if (current === undefined) return undefined;
    const print = kind === "blob" ? { ...current, changed: 0 } : current;
    const row = this.memo.get<Row>(SECTION, path);
    if (row !== undefined) {
      const [size, modified, changed, inode, blob] = row;
      if (same(print, { size, modified, changed, inode })) return blob;
    }
    const at = Date.now();
    const { blob, size } = await digestFile(path);
    const after = fingerprint(path);
    const isStable = after !== undefined && same(current, after) &&
      size === current.size;
    if (isStable && settled(print, at)) {
      const row: Row = [size, print.modified, print.changed, print.inode, blob];
      this.memo.set(SECTION, path, row);
    }
    return blob;
  }

  /**
   * Forgets all files that no longer exist, and everything else in the memo.
   */
  async prune(): Promise<void> {
    await this.memo.prune(SECTION, (path) => fingerprint(path) !== undefined);
  }
}
