import { digestFile, quickChecksum } from "./digest.ts";
import { readSealed, writeSealed } from "./files.ts";
import { lockFile } from "./locks.ts";

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
function of(info: Deno.FileInfo): Fingerprint {
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

const VERSION = 1;

/** A file's content as it was at a time. */
interface Entry extends Fingerprint {
  readonly blob: string;
  /** When it was read, in milliseconds since 1970. */
  readonly at: number;
}

/** An entry as it is written: path, size, modified, changed, inode, blob, at. */
type Row = [string, number, number, number, number, string, number];

/**
 * Remembers the digests of files by path, size, times and inode, so that
 * unchanged files are not read again. An entry whose file was touched within
 * two seconds of being read is not trusted: a second write in the same tick of
 * the clock would leave no trace.
 */
export class Stats {
  readonly #path: string;
  readonly #entries: Map<string, Entry>;
  readonly #fresh = new Map<string, Entry>();

  constructor(path: string) {
    this.#path = path;
    this.#entries = read(path);
  }

  /**
   * Digest of the file at the absolute path, read only if need be; undefined
   * if there is no such file.
   *
   * @param own True for a file of the cache itself: making hard links to it
   * changes the inode's time, which therefore does not count.
   */
  async digest(path: string, own = false): Promise<string | undefined> {
    const before = fingerprint(path);
    if (before === undefined) return undefined;
    const known = this.#entries.get(path);
    if (known !== undefined && trusted(known, before, own)) return known.blob;
    const at = Date.now();
    let read: Awaited<ReturnType<typeof digestFile>>;
    try {
      read = await digestFile(path);
    } catch (error) {
      // Removed since it was looked at.
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    const { blob, size } = read;
    const after = fingerprint(path);
    const entry = { ...before, blob, at };
    if (after !== undefined && same(before, after) && size === before.size) {
      this.#entries.set(path, entry);
      this.#fresh.set(path, entry);
    }
    return blob;
  }

  /** Writes what was learnt, keeping what other processes learnt meanwhile. */
  async save(): Promise<void> {
    if (this.#fresh.size === 0) return;
    using _lock = await lockFile(`${this.#path}.lock`);
    const entries = read(this.#path);
    for (const [path, entry] of this.#fresh) entries.set(path, entry);
    this.#fresh.clear();
    write(this.#path, entries);
  }

  /** Forgets files that are gone. */
  async prune(): Promise<void> {
    using _lock = await lockFile(`${this.#path}.lock`);
    const entries = read(this.#path);
    for (const path of entries.keys()) {
      if (fingerprint(path) === undefined) entries.delete(path);
    }
    write(this.#path, entries);
  }
}

function write(path: string, entries: ReadonlyMap<string, Entry>): void {
  const rows: Row[] = [...entries].map((
    [path, { size, modified, changed, inode, blob, at }],
  ) => [path, size, modified, changed, inode, blob, at]);
  writeSealed(path, { version: VERSION, entries: rows }, quickChecksum);
}

function trusted(known: Entry, now: Fingerprint, own: boolean): boolean {
  if (!own) return same(known, now) && settled(known, known.at);
  const changed = known.changed;
  return same(known, { ...now, changed }) &&
    settled({ ...known, changed: known.modified }, known.at);
}

function read(path: string): Map<string, Entry> {
  const sealed = readSealed(path, quickChecksum);
  if (sealed.state !== "whole" || sealed.value.version !== VERSION) {
    return new Map();
  }
  const rows = sealed.value.entries as Row[];
  return new Map(rows.map((
    [path, size, modified, changed, inode, blob, at],
  ) => [path, { size, modified, changed, inode, blob, at }]));
}
