import { basename, dirname, join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import { listFiles, NotAFileError, type TreeFile } from "../store/blobs.ts";
import { entriesOf } from "../store/cleanup.ts";
import { digest } from "../store/digest.ts";
import {
  exchange,
  syncFolder,
  syncTree,
  TEMPORARY,
  temporarySuffix,
} from "../store/files.ts";
import { type Lock, lockFile, tryLockFile } from "../store/locks.ts";
import type { Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";

/** Folder where the user finds a stage's artifact: `out/PIPELINE/STAGE`. */
export function visibleFolder(
  out: string,
  pipeline: string,
  stage: Pick<GraphStage, "id">,
): string {
  return join(out, pipeline, stage.id);
}

/** Why a folder is not the artifact: `scores.json is changed`; undefined if it is. */
export async function difference(
  folder: string,
  files: readonly TreeFile[],
  store: Store,
): Promise<string | undefined> {
  let present: string[];
  try {
    present = listFiles(folder, "refuse");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "output is missing";
    if (
      error instanceof Deno.errors.NotADirectory ||
      error instanceof NotAFileError
    ) return "output is changed";
    throw error;
  }
  const expected = new Map(files.map(({ path, blob }) => [path, blob]));
  const added = present.find((path) => !expected.has(path));
  if (added !== undefined) return `output file ${added} is not the stage's`;
  const found = new Set(present);
  for (const [path, blob] of expected) {
    if (!found.has(path)) return `output file ${path} is missing`;
    if (await store.stats.digest(join(folder, path)) !== blob) {
      return `output file ${path} is changed`;
    }
  }
  return undefined;
}

/**
 * Puts an artifact's files where the user finds them, in place of whatever is
 * there. They are copies, so the user may edit them.
 *
 * @throws {DamagedBlobError} If the cache has lost one of them.
 */
export async function restore(
  folder: string,
  manifest: Manifest,
  store: Store,
): Promise<void> {
  const fresh = beside(folder);
  try {
    Deno.mkdirSync(fresh, { recursive: true });
    for (const { path, blob } of manifest.files) {
      await store.blobs.copyTo(blob, join(fresh, path));
    }
    replaceFolder(folder, fresh);
  } finally {
    removeFolder(fresh);
  }
}

/**
 * Moves a folder to where another may be, which is removed: in one step, so
 * that there is always one of the two, where the system can do that. It is on
 * the disk by then, so that a loss of power leaves no half of it.
 */
export function replaceFolder(folder: string, fresh: string): void {
  syncTree(fresh);
  Deno.mkdirSync(dirname(folder), { recursive: true });
  if (exchange(fresh, folder)) {
    syncFolder(dirname(folder));
    return removeFolder(fresh);
  }
  const old = beside(folder);
  try {
    Deno.renameSync(folder, old);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  Deno.renameSync(fresh, folder);
  syncFolder(dirname(folder));
  removeFolder(old);
}

/** Removes a folder and all within, if it is there. */
export function removeFolder(folder: string): void {
  try {
    Deno.removeSync(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Takes the lock of a stage's visible folder, which whoever replaces it holds. */
export async function lockVisible(folder: string, store: Store): Promise<Lock> {
  return await lockFile(join(store.makeFolder("locks"), digest(folder)));
}

/** Removes what processes that died left beside the folders of a pipeline's stages. */
export function sweepVisible(pipeline: string, store: Store): void {
  const locks = store.makeFolder("locks");
  for (const { name } of entriesOf(pipeline)) {
    const [, stage, suffix] = /^\.(.+)\.([^.]+)$/.exec(name) ?? [];
    if (stage === undefined || !TEMPORARY.test(suffix!)) continue;
    const folder = join(pipeline, stage);
    using lock = tryLockFile(join(locks, digest(folder)));
    if (lock !== undefined) sweepBeside(folder);
  }
}

/** Removes what a process that died left beside a stage's folder, which must be locked. */
export function sweepBeside(folder: string): void {
  for (const { name } of entriesOf(dirname(folder))) {
    const rest = name.slice(`.${basename(folder)}.`.length);
    if (name === `.${basename(folder)}.${rest}` && TEMPORARY.test(rest)) {
      removeFolder(join(dirname(folder), name));
    }
  }
}

/** A hidden name in the same folder that no other process uses. */
function beside(folder: string): string {
  return join(
    dirname(folder),
    `.${basename(folder)}.${temporarySuffix()}`,
  );
}
