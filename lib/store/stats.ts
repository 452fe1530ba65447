import { digestFile } from "./digest.ts";
import { type Fingerprint, fingerprint, same, settled } from "./fingerprint.ts";
import { lockFile } from "./locks.ts";
import { quickChecksum } from "./quick_checksum.ts";
import { readSealed, writeSealed } from "./sealed.ts";

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
