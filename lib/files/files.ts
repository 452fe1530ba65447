import { dirname, join } from "./paths.ts";
import { quickChecksum } from "./digest.ts";

/**
 * Replaces a file atomically and durably: a concurrent reader, or a reader
 * after a power loss, finds the old content or the new one.
 */
export function writeDurably(
  path: string,
  text: string | Uint8Array<ArrayBuffer>,
): void {
  const temporary = temporaryPath(path);
  try {
    {
      using file = Deno.openSync(temporary, { write: true, createNew: true });
      writeAll(file, text);
      file.syncSync();
    }
    Deno.renameSync(temporary, path);
  } catch (error) {
    removeIfThere(temporary);
    throw error;
  }
  syncFolder(dirname(path));
}

/** Writes all bytes, or text as UTF-8, to an open file. */
export function writeAll(
  file: Pick<Deno.FsFile, "writeSync">,
  content: string | Uint8Array,
) {
  const bytes = typeof content === "string"
    ? new TextEncoder().encode(content)
    : content;
  for (let done = 0; done < bytes.length;) {
    done += file.writeSync(bytes.subarray(done));
  }
}

/**
 * Flushes a folder's entries to the disk, so that renames in it survive a power
 * loss.
 */
function syncFolder(path: string): void {
  using folder = Deno.openSync(path);
  folder.syncSync();
}

/** A temporary path in the same folder, unique among all processes. */
export function temporaryPath(path: string): string {
  return `${path}.${temporarySuffix()}.tmp`;
}

/** True if a path does not exist, or is below a file. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
}

/**
 * What a function returns that uses a path; undefined if that does not exist.
 */
export function ifThere<T>(use: () => T): T | undefined {
  try {
    return use();
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The text of a file; undefined if it does not exist. */
export function readIfThere(path: string): string | undefined {
  return ifThere(() => Deno.readTextFileSync(path));
}

/** What a path leads to; undefined if nothing is there. */
export function statIfThere(path: string): Deno.FileInfo | undefined {
  return ifThere(() => Deno.statSync(path));
}

/** Removes a file, if it exists. */
export function removeIfThere(path: string): void {
  ifThere(() => Deno.removeSync(path));
}

/** Removes a folder and everything in it, if it exists. */
export function removeFolder(folder: string): void {
  ifThere(() => Deno.removeSync(folder, { recursive: true }));
}

/**
 * Hard-links a file to a new path, or copies it where the file system has no
 * hard links.
 */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await Deno.link(from, to);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw error;
    await Deno.copyFile(from, to);
  }
}

/** Entries of a folder; none if it does not exist. */
export function entriesOf(folder: string): Deno.DirEntry[] {
  return ifThere(() => [...Deno.readDirSync(folder)]) ?? [];
}

/**
 * All entries below a folder, at any depth, with their paths; those in a folder
 * before it.
 */
export function* entriesBelow(
  folder: string,
): Generator<Deno.DirEntry & { readonly path: string }> {
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* entriesBelow(path);
    yield { ...entry, path };
  }
}

/**
 * Identifies this process among all that share a cache. Processes in different
 * containers may have the same PID.
 */
const PROCESS_NAME = `${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;

/** True for a name that {@linkcode temporaryPath} made. */
export function isTemporary(name: string): boolean {
  return /\.\d+-[0-9a-f]{8}-\d+\.tmp$/.test(name);
}

let serial = 0;

/** A suffix for a temporary name, unique among all processes. */
export function temporarySuffix(): string {
  const suffix = `${PROCESS_NAME}-${serial}`;
  serial++;
  return suffix;
}

/** Writes a value as JSON together with its checksum, durably. */
export function writeSealed(path: string, value: object): void {
  writeDurably(path, seal(value));
}

/**
 * The text of a sealed file: JSON whose first member, `seal`, is the checksum
 * of the others.
 */
export function seal(value: object): string {
  const json = JSON.stringify(value);
  const members = json === "{}" ? "" : `,${json.slice(1, -1)}`;
  return `{"seal":"${quickChecksum(json)}"${members}}\n`;
}

/** Inverse of {@linkcode seal}; undefined if the text is damaged. */
export function unseal<T extends object = Record<string, unknown>>(
  text: string,
): T | undefined {
  const [, seal, members] = /^\{"seal":"([0-9a-f]+)",?(.*)\}\n$/s.exec(text) ??
    [];
  const json = `{${members}}`;
  return seal === quickChecksum(json) ? JSON.parse(json) : undefined;
}

/**
 * Reads what {@linkcode writeSealed} wrote; undefined if it is missing or
 * damaged.
 */
export function readSealed<T extends object = Record<string, unknown>>(
  path: string,
): T | undefined {
  return unseal(readIfThere(path) ?? "");
}

/**
 * Codes for which Deno gives the number only, of Linux or macOS, or which
 * another process reports in its message.
 */
const CODES: Readonly<Record<string, string>> = {
  3: "ESRCH",
  28: "ENOSPC",
  69: "EDQUOT",
  122: "EDQUOT",
};

/**
 * The code of an error of the operating system, such as `ENOSPC`; undefined for
 * other errors.
 */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && error.code !== undefined) return String(error.code);
  const [, number] = /\(os error (\d+)\)/.exec(error.message) ?? [];
  return number && CODES[number];
}

/**
 * The paths that an error of the operating system is about, in the order of the
 * call: of a rename, the source and the target. Deno gives them in the message
 * only: `rename '/a' -> '/b'`.
 */
export function systemPaths({ message }: Error): string[] {
  return [...message.matchAll(/'(.+?)'(?= -> '|$)/g)]
    .flatMap(([, path]) => path ?? []);
}

/** True if the disk is full or the quota is used up. */
export function isFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes(systemCode(error)!);
}

/** True if a file system or folder is not writable. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied ||
    ["EACCES", "EPERM", "EROFS"].includes(systemCode(error)!);
}

/** True if a file cannot be written to a folder that the user has chosen. */
export function isWriteFault(error: unknown): boolean {
  return isFull(error) || isReadOnly(error) || systemCode(error) === "ENOTDIR";
}
