/**
 * Names this process among all that share a cache, in whatever containers they
 * run: there, process numbers may be the same.
 */
export const PROCESS_NAME = `${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;

/** What follows the name of a file or folder that a process has made for the time being. */
export const TEMPORARY = /^\d+-[0-9a-f]{8}-\d+$/;

let serial = 0;

/** A suffix that no process has used before; `TEMPORARY` tells it. */
export function temporarySuffix(): string {
  return `${PROCESS_NAME}-${serial++}`;
}
