import { basename, dirname, join } from "../store/paths.ts";
import type { GraphStage } from "../pipeline/graph.ts";
import { listFiles, NotAFileError, type TreeFile } from "../store/blobs.ts";
import { digest } from "../store/digest.ts";
import {
  entriesOf,
  exchange,
  removeFolder,
  syncFolder,
  syncTree,
  TEMPORARY,
  temporarySuffix,
} from "../store/files.ts";
import { lockFile, tryLockFile } from "../store/locks.ts";
import type { Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import type { Context } from "./context.ts";

/** Folder of a stage's artifact that the user sees: `out/PIPELINE/STAGE`. */
export function visibleFolder(
  out: string,
  pipeline: string,
  stage: Pick<GraphStage, "id">,
): string {
  return join(out, pipeline, stage.id);
}

/** How a folder differs from an artifact: `output file scores.json is changed`; undefined if it does not. */
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
 * Puts a result in the visible folder of its stage, in place of what is there.
 * The files are copies, so the user may edit them.
 *
 * @param fresh Folder with the artifact, which is moved; by default, it is copied from the cache.
 * @throws {DamagedBlobError} If the cache has lost a file of it.
 */
export async function makeVisible(
  { graph: { pipeline }, settings, store }: Context,
  stage: GraphStage,
  manifest: Manifest,
  fresh?: string,
): Promise<void> {
  const folder = visibleFolder(settings.out, pipeline, stage);
  using _lock = await lockFile(lockPath(folder, store));
  sweepBeside(folder);
  if (fresh !== undefined) return replaceFolder(folder, fresh);
  const copy = beside(folder);
  try {
    Deno.mkdirSync(copy, { recursive: true });
    for (const { path, blob } of manifest.files) {
      await store.blobs.copyTo(blob, join(copy, path));
    }
    replaceFolder(folder, copy);
  } finally {
    removeFolder(copy);
  }
}

/**
 * Moves a folder in place of another, which is removed; atomically, where the
 * system can. It is flushed to the disk first, so that a power loss cannot leave
 * half of it.
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

/** Removes temporary folders that dead processes left beside the visible folders of a pipeline. */
export function sweepVisible(pipeline: string, store: Store): void {
  for (const { name } of entriesOf(pipeline)) {
    const [, stage, suffix] = /^\.(.+)\.([^.]+)$/.exec(name) ?? [];
    if (stage === undefined || !TEMPORARY.test(suffix!)) continue;
    const folder = join(pipeline, stage);
    using lock = tryLockFile(lockPath(folder, store));
    if (lock !== undefined) sweepBeside(folder);
  }
}

/** Removes temporary folders beside a visible folder, whose lock must be held. */
function sweepBeside(folder: string): void {
  const prefix = `.${basename(folder)}.`;
  for (const { name } of entriesOf(dirname(folder))) {
    if (name.startsWith(prefix) && TEMPORARY.test(name.slice(prefix.length))) {
      removeFolder(join(dirname(folder), name));
    }
  }
}

/** Lock of a visible folder, held while it is replaced. */
function lockPath(folder: string, store: Store): string {
  return join(store.makeFolder("locks"), digest(folder));
}

/** A hidden temporary path beside a visible folder. */
function beside(folder: string): string {
  return join(dirname(folder), `.${basename(folder)}.${temporarySuffix()}`);
}
