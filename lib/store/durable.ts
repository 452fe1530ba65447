import { dirname, join } from "node:path";
import { temporarySuffix } from "./process_name.ts";

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
