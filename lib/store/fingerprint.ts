/**
 * What tells that a file may have changed without reading it. `changed` is the
 * inode's own time, which a program cannot set back, so a copy that keeps the
 * modification time is noticed.
 */
export interface Fingerprint {
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly modified: number;
  /** Milliseconds since 1970. */
  readonly changed: number;
  readonly inode: number;
}

/** Two clock ticks of the coarsest file system: a later write may not show in the times. */
const TICK = 2_000;

/** The fingerprint of a regular file or a folder; undefined if it does not exist. Links are followed. */
export function fingerprint(path: string): Fingerprint | undefined {
  try {
    return of(Deno.statSync(path));
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return undefined;
    throw error;
  }
}

/** The fingerprint within the answer of `stat()`. */
export function of(info: Deno.FileInfo): Fingerprint {
  return {
    size: info.size,
    modified: info.mtime?.getTime() ?? 0,
    changed: info.ctime?.getTime() ?? 0,
    inode: info.ino ?? 0,
  };
}

/** True if nothing shows that the file changed between the two. */
export function same(a: Fingerprint, b: Fingerprint): boolean {
  return a.size === b.size && a.modified === b.modified &&
    a.changed === b.changed && a.inode === b.inode;
}

/**
 * True if a change made after `at` would show in the fingerprint: it was
 * taken well after the last change. False also if the clock was set back.
 */
export function settled(print: Fingerprint, at: number): boolean {
  return Math.max(print.modified, print.changed) + TICK <= at;
}
