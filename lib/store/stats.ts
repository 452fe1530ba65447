import { digestFile, quickChecksum } from "./digest.ts";
import { isMissing, readSealed, writeSealed } from "./files.ts";
import { lockFile } from "./locks.ts";

/**
 * Metadata that shows whether a file may have changed, without reading it.
 * `changed` (ctime) cannot be set by programs, so a copy that preserves the
 * modification time is noticed; `trust.ts` says where this does not hold.
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
  return printOf(() => Deno.statSync(path));
}

/** As {@linkcode fingerprint}, but of a symbolic link itself. */
export function linkFingerprint(path: string): Fingerprint | undefined {
  return printOf(() => Deno.lstatSync(path));
}

function printOf(stat: () => Deno.FileInfo): Fingerprint | undefined {
  try {
    const info = stat();
    return {
      size: info.size,
      modified: info.mtime?.getTime() ?? 0,
      changed: info.ctime?.getTime() ?? 0,
      inode: info.ino ?? 0,
    };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
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
 * fingerprint, because the last change before is long enough ago. False also
 * after the clock was set back.
 *
 * @param settles Milliseconds that are long enough; by default the tick of the clock
 */
export function settled(
  print: Fingerprint,
  at: number,
  settles = TICK,
): boolean {
  return Math.max(print.modified, print.changed) + settles <= at;
}

const VERSION = 2;

/** Digest of a file when it had a certain fingerprint. */
interface Entry extends Fingerprint {
  readonly blob: string;
}

/** Serialized entry: path, size, modified, changed, inode, blob. */
type Row = [string, number, number, number, number, string];

/**
 * Owner of a file, which determines how it may change. An `input` is written by
 * the user, by any means: `trust.ts` finds out whether its metadata shows every
 * change. An `output` is a copy that the user sees. A `blob` belongs to the cache
 * and never changes; its ctime is ignored, since hard links to it change it.
 */
type Kind = "input" | "output" | "blob";

/** An input file that was read. */
export interface Seen {
  readonly blob: string;
  /** True if any later change will show in its fingerprint. */
  readonly settled: boolean;
  /** True if a process has it open for writing. */
  readonly written: boolean;
}

/** Milliseconds for which a file on a file system without useful times is not read again within one process. */
const RECENT = 1_000;

/**
 * Stat cache: remembers digests of files by path and fingerprint, so that
 * unchanged files are not read again. A digest is remembered only if any later
 * change will show in the fingerprint.
 */
export class Stats {
  readonly #path: string;
  readonly #entries: Map<string, Entry>;
  readonly #fresh = new Map<string, Entry>();
  /** Digests that are not remembered, with the time until which they are valid, on the clock of `performance.now()`. */
  readonly #recent = new Map<string, Entry & { readonly until: number }>();

  constructor(path: string) {
    this.#path = path;
    this.#entries = read(path);
  }

  /**
   * Digest of a file, which is read only if it may have changed; undefined if
   * it does not exist.
   *
   * @param path Absolute path.
   * @param name Path at which the file was seen last, if it has been moved.
   */
  async digest(
    path: string,
    kind: Kind = "input",
    name = path,
  ): Promise<string | undefined> {
    const now = fingerprint(path);
    if (now === undefined) return undefined;
    const known = this.#entries.get(name);
    if (known !== undefined && isSame(known, now, kind)) return known.blob;
    const recent = this.#recent.get(name);
    if (
      recent !== undefined && performance.now() < recent.until &&
      isSame(recent, now, kind)
    ) return recent.blob;
    return (await this.#read(path, kind, name))?.blob;
  }

  /** Digest of an input, as {@linkcode digest} gives it, and whether the file may change without a trace. */
  async inspect(path: string): Promise<Seen | undefined> {
    const now = fingerprint(path);
    if (now === undefined) return undefined;
    const known = this.#entries.get(path);
    if (known !== undefined && isSame(known, now, "input")) {
      return { blob: known.blob, settled: true, written: false };
    }
    return await this.#read(path, "input", path);
  }

  async #read(
    path: string,
    kind: Kind,
    name: string,
  ): Promise<Seen | undefined> {
    const before = fingerprint(path);
    if (before === undefined) return undefined;
    const at = Date.now();
    // After the first fingerprint, since a later write changes the second one.
    const { written, settles } = kind === "input"
      ? (await import("./trust.ts")).trustIn(path, before)
      : { written: false, settles: undefined };
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
    const entry = { ...before, blob };
    const isStable = after !== undefined && same(before, after) &&
      size === before.size;
    const changed = kind === "blob" ? before.modified : before.changed;
    const isSettled = isStable && settled({ ...before, changed }, at, settles);
    if (isSettled) {
      this.#entries.set(name, entry);
      this.#fresh.set(name, entry);
    } else if (isStable && !written && settles === Infinity) {
      const until = performance.now() + RECENT;
      this.#recent.set(name, { ...entry, until });
    }
    return { blob, settled: isSettled, written };
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
    const gone = [...entries.keys()].filter((path) =>
      fingerprint(path) === undefined
    );
    if (gone.length === 0) return;
    for (const path of gone) entries.delete(path);
    write(this.#path, entries);
  }
}

function write(path: string, entries: ReadonlyMap<string, Entry>): void {
  const rows: Row[] = [...entries].map((
    [path, { size, modified, changed, inode, blob }],
  ) => [path, size, modified, changed, inode, blob]);
  writeSealed(path, { version: VERSION, entries: rows }, quickChecksum);
}

function isSame(known: Entry, now: Fingerprint, kind: Kind): boolean {
  return same(
    known,
    kind === "blob" ? { ...now, changed: known.changed } : now,
  );
}

function read(path: string): Map<string, Entry> {
  const memo = readSealed(path, quickChecksum);
  if (memo?.version !== VERSION) return new Map();
  const rows = memo.entries as Row[];
  return new Map(rows.map((
    [path, size, modified, changed, inode, blob],
  ) => [path, { size, modified, changed, inode, blob }]));
}
