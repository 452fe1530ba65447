import { dirname, join } from "node:path";
import { digest } from "./digest.ts";

/**
 * Replaces a file in one step: a reader, or a machine that lost power, finds
 * the old content or the new one, never a part.
 */
export function writeDurably(path: string, text: string): void {
  const temporary = besides(path);
  const bytes = new TextEncoder().encode(text);
  try {
    {
      using file = Deno.openSync(temporary, { write: true, createNew: true });
      for (let done = 0; done < bytes.length;) {
        done += file.writeSync(bytes.subarray(done));
      }
      file.syncSync();
    }
    Deno.renameSync(temporary, path);
  } catch (error) {
    removeIfThere(temporary);
    throw error;
  }
  syncFolder(dirname(path));
}

/** Makes renames within a folder survive a loss of power. */
export function syncFolder(path: string): void {
  using folder = Deno.openSync(path);
  folder.syncSync();
}

/** Makes all files below a folder, and their names, survive a loss of power. */
export function syncTree(path: string): void {
  for (const { name, isDirectory } of Deno.readDirSync(path)) {
    const member = join(path, name);
    if (isDirectory) syncTree(member);
    else {
      using file = Deno.openSync(member);
      file.syncSync();
    }
  }
  syncFolder(path);
}

/** A name in the same folder that no other process uses. */
export function besides(path: string): string {
  return `${path}.${temporarySuffix()}.tmp`;
}

/** Removes a file, if it is there. */
export function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Names this process among all that share a cache, in whatever containers they
 * run: there, process numbers may be the same.
 */
const PROCESS_NAME = `${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;

/** What follows the name of a file or folder that a process has made for the time being. */
export const TEMPORARY = /^\d+-[0-9a-f]{8}-\d+$/;

let serial = 0;

/** A suffix that no process has used before; `TEMPORARY` tells it. */
export function temporarySuffix(): string {
  return `${PROCESS_NAME}-${serial++}`;
}

/** Lets two paths change places in one step of the kernel. */
type Exchange = (
  a: Uint8Array<ArrayBuffer>,
  b: Uint8Array<ArrayBuffer>,
) => number;

/** `AT_FDCWD`: paths are relative to the current folder. */
const HERE = -100;
/** `RENAME_EXCHANGE` of Linux and `RENAME_SWAP` of macOS. */
const SWAP = 2;

let found: Exchange | undefined;
let looked = false;

/**
 * Makes two files or folders of one file system change places, so that nobody
 * ever finds one of the paths empty.
 *
 * @returns False if that cannot be done here, in which case nothing was.
 */
export function exchange(a: string, b: string): boolean {
  if (!looked) found = find();
  looked = true;
  return found !== undefined && found(pathBytes(a), pathBytes(b)) === 0;
}

function find(): Exchange | undefined {
  try {
    if (Deno.build.os === "linux") {
      const { symbols } = Deno.dlopen("libc.so.6", {
        renameat2: {
          parameters: ["i32", "buffer", "i32", "buffer", "u32"],
          result: "i32",
        },
      });
      return (a, b) => symbols.renameat2(HERE, a, HERE, b, SWAP);
    }
    if (Deno.build.os === "darwin") {
      const { symbols } = Deno.dlopen("libSystem.B.dylib", {
        renamex_np: { parameters: ["buffer", "buffer", "u32"], result: "i32" },
      });
      return (a, b) => symbols.renamex_np(a, b, SWAP);
    }
    return undefined;
  } catch (error) {
    // Another C library, or an older one: the caller has its own way then.
    if (error instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}

function pathBytes(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${path}\0`);
}

/** What a text is sealed with; hexadecimal digits. */
type Checksum = (text: string) => string;

/** Writes a value as JSON together with its checksum, so that damage is noticed. */
export function writeSealed(
  path: string,
  value: object,
  checksum: Checksum = digest,
): void {
  writeDurably(path, seal(value, checksum));
}

/** The text of a sealed file. */
export function seal(value: object, checksum: Checksum = digest): string {
  const json = JSON.stringify(value);
  const members = json === "{}" ? "" : `,${json.slice(1, -1)}`;
  return `{"seal":"${checksum(json)}"${members}}\n`;
}

/** The JSON that a sealed text was made of, cut out rather than written again. */
function unsealed(text: string, seal: string): string {
  const start = `{"seal":"${seal}"`;
  const rest = text.slice(start.length, -1);
  if (!text.startsWith(start) || !text.endsWith("\n")) return "";
  return `{${rest.startsWith(",") ? rest.slice(1) : rest}`;
}

/** What a sealed file holds: its value, or why there is none. */
type Sealed =
  | { readonly state: "whole"; readonly value: Record<string, unknown> }
  | { readonly state: "missing" }
  | { readonly state: "damaged" };

/** Reads what `writeSealed()` wrote with the same checksum. */
export function readSealed(
  path: string,
  checksum: Checksum = digest,
): Sealed {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { state: "missing" };
    throw error;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return { state: "damaged" };
    throw error;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return { state: "damaged" };
  }
  const { seal, ...value } = parsed as Record<string, unknown>;
  return seal === checksum(unsealed(text, String(seal)))
    ? { state: "whole", value }
    : { state: "damaged" };
}

/**
 * The operating system's number of an error, for those that the runtime has no
 * class for. The numbers used here are the same on Linux and macOS.
 */
export function osError(error: unknown): number | undefined {
  const found = error instanceof Error &&
    /\(os error (\d+)\)/.exec(error.message);
  return found ? Number(found[1]) : undefined;
}

/** No such process. */
export const ESRCH = 3;
/** Input or output failed: of a terminal, that it is gone. */
export const EIO = 5;
const ENOSPC = 28;
const EROFS = 30;
const EDQUOT = Deno.build.os === "darwin" ? 69 : 122;

/** True if the error says that a disk is full. */
export function isFull(error: unknown): boolean {
  const number = osError(error);
  return number === ENOSPC || number === EDQUOT;
}

/** True if the error says that a file system or folder cannot be written. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied ||
    osError(error) === EROFS;
}
