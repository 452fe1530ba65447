import { entriesBelow, ifThere, statIfThere } from "./files.ts";

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

/**
 * Milliseconds within which a second write may leave the times of a file
 * unchanged: two ticks of the coarsest file system.
 */
const TICK = 2_000;

/**
 * Fingerprint of a file or folder; undefined if it does not exist. Symbolic
 * links are followed.
 */
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

/** Bytes of all files below a folder; 0 if it does not exist. */
export function folderSize(folder: string): number {
  return entriesBelow(folder).reduce(
    (sum, { path, isDirectory }) =>
      sum + (isDirectory ? 0 : linkFingerprint(path)?.size ?? 0),
    0,
  );
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
