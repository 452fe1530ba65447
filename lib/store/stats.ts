import { digestFile, quickChecksum } from "./digest.ts";
import { readSealed, writeSealed } from "./files.ts";
import { lockFile } from "./locks.ts";

/**
 * Metadata that shows whether a file may have changed, without reading it.
 * `changed` (ctime) cannot be set by programs, so a copy that preserves the
 * modification time is noticed.
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
  try {
    const info = Deno.statSync(path);
    return {
      size: info.size,
      modified: info.mtime?.getTime() ?? 0,
      changed: info.ctime?.getTime() ?? 0,
      inode: info.ino ?? 0,
    };
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return undefined;
    throw error;
  }
}

/** True if two fingerprints of a file show no change. */
export function same(a: Fingerprint, b: Fingerprint): boolean {
  return a.size === b.size && a.modified === b.modified &&
    a.changed === b.changed && a.inode === b.inode;
}

/**
 * True if any change after `at` (milliseconds since 1970) would show in the
 * fingerprint, because the last change before is long enough ago. False also
 * after the clock was set back.
 */
export function settled(print: Fingerprint, at: number): boolean {
  return Math.max(print.modified, print.changed) + TICK <= at;
}

const VERSION = 1;

/** Digest of a file when it had a certain fingerprint. */
interface Entry extends Fingerprint {
  readonly blob: string;
  /** When the file was read, in milliseconds since 1970. */
  readonly at: number;
}

/** Serialized entry: path, size, modified, changed, inode, blob, at. */
type Row = [string, number, number, number, number, string, number];

/**
 * Stat cache: remembers digests of files by path and fingerprint, so that
 * unchanged files are not read again. An entry is not trusted if the file was
 * changed less than two seconds before it was read, since a second write within
 * the same clock tick would leave no trace.
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
   * Digest of a file, which is read only if it may have changed; undefined if
   * it does not exist.
   *
   * @param path Absolute path.
   * @param own True for a file of the cache itself. Its ctime is ignored, since
   * hard links to it change that.
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
      // Removed since the call of fingerprint().
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

  /** Writes new entries, merged with those that other processes have written. */
  async save(): Promise<void> {
    if (this.#fresh.size === 0) return;
    using _lock = await lockFile(`${this.#path}.lock`);
    const entries = read(this.#path);
    for (const [path, entry] of this.#fresh) entries.set(path, entry);
    this.#fresh.clear();
    write(this.#path, entries);
  }

  /** Drops the entries of files that no longer exist. */
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
