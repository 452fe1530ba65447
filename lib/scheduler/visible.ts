import { basename, dirname, join } from "../files/paths.ts";
import { listFiles, NotAFileError, type TreeFile } from "../store/blobs.ts";
import { digest } from "../files/digest.ts";
import {
  entriesBelow,
  entriesOf,
  isMissing,
  removeFolder,
  systemCode,
} from "../files/files.ts";
import { lockFile } from "../files/locks.ts";
import type { Manifest } from "../store/manifests.ts";
import { linkFingerprint } from "../files/fingerprints.ts";
import type { Store } from "../store/store.ts";
import type { Run } from "./context.ts";

/** Folder of a stage's artifact that the user sees: `out/PIPELINE/STAGE`. */
export function visibleFolder(
  out: string,
  pipeline: string,
  stage: string,
): string {
  return join(out, pipeline, stage);
}

/**
 * First difference between a folder and an artifact:
 * `output file scores.json is changed`; undefined if they are equal.
 */
export async function difference(
  folder: string,
  files: readonly TreeFile[],
  store: Store,
): Promise<string | undefined> {
  if (linkFingerprint(folder) === undefined) return "output is missing";
  let present: string[];
  try {
    present = listFiles(folder, "refuse");
  } catch (error) {
    if (isMissing(error) || error instanceof NotAFileError) {
      return "output is changed";
    }
    throw error;
  }
  const expected = new Map(files.map(({ path, blob }) => [path, blob]));
  const added = present.find((path) => !expected.has(path));
  if (added !== undefined) return `output file ${added} was added`;
  const presentPaths = new Set(present);
  for (const [path, blob] of expected) {
    if (!presentPaths.has(path)) return `output file ${path} is missing`;
    if (await store.stats.digest(join(folder, path)) !== blob) {
      return `output file ${path} is changed`;
    }
  }
  return undefined;
}

/**
 * Puts a result in the visible folder of its stage, in place of what is there.
 * The files are copies, so the user may edit them. A folder with files that the
 * cache has not written is moved to `_kept/STAGE/N` beside it as a whole.
 *
 * @param fresh Folder with the artifact, which is moved; by default, it is
 * copied from the cache.
 */
export async function makeVisible(
  run: Run,
  stage: string,
  manifest: Manifest,
  fresh?: string,
): Promise<void> {
  const { graph: { pipeline }, settings, signal, store } = run;
  const folder = visibleFolder(settings.out, pipeline, stage);
  const lock = join(store.makeFolder("locks"), await digest(folder));
  using _lock = await lockFile(lock, { signal });
  const next = join(dirname(folder), `.${basename(folder)}.replaced`);
  try {
    // An earlier process may have been killed here.
    removeFolder(next);
    Deno.mkdirSync(dirname(next), { recursive: true });
    if (fresh === undefined || !moves(fresh, next)) {
      Deno.mkdirSync(next);
      for (const { path, blob } of manifest.files) {
        await store.blobs.copyTo(blob, join(next, path));
      }
      setModes(next);
    }
    await keepForeign(run, stage);
    removeFolder(folder);
    Deno.renameSync(next, folder);
  } finally {
    removeFolder(next);
  }
}

/**
 * Gives all files and folders the modes that new ones have, so that a restored
 * output equals the first one.
 */
export function setModes(folder: string): void {
  const mask = Deno.umask();
  Deno.chmodSync(folder, 0o777 & ~mask);
  for (const { path, isDirectory } of entriesBelow(folder)) {
    Deno.chmodSync(path, (isDirectory ? 0o777 : 0o666) & ~mask);
  }
}

/** Moves a folder; returns false if that leads to another disk. */
function moves(from: string, to: string): boolean {
  try {
    Deno.renameSync(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === "EXDEV") return false;
    throw error;
  }
}

/**
 * Moves the visible folder of a stage to `_kept` if it holds anything but files
 * of its results, with contents that the cache has.
 */
async function keepForeign(
  { emit, graph: { pipeline }, settings: { out }, store }: Run,
  stage: string,
): Promise<void> {
  const folder = visibleFolder(out, pipeline, stage);
  if (linkFingerprint(folder) === undefined) return;
  const written = new Set(
    store.results(pipeline, stage)
      .flatMap(({ files }) => files.map(({ path }) => join(folder, path))),
  );
  const isForeign = async (path: string) => {
    if (!written.has(path) || !Deno.lstatSync(path).isFile) return true;
    const blob = await store.stats.digest(path);
    return blob === undefined || !await store.blobs.holds(blob);
  };
  const isFolder = Deno.lstatSync(folder).isDirectory;
  let files = isFolder ? 0 : 1;
  for (const { path, isDirectory } of isFolder ? entriesBelow(folder) : []) {
    if (!isDirectory && await isForeign(path)) files++;
  }
  if (files === 0) return;
  emit({ type: "kept", stage, files, folder: keepAside(folder, folder) });
}

/**
 * Moves a folder, file or link of the user to the next of the folders
 * `_kept/STAGE/1`, 2, ... beside a visible folder. No stage can be called
 * `_kept`.
 *
 * @param folder Visible folder of the stage.
 * @returns The folder that it is in now, or has become.
 */
export function keepAside(path: string, folder: string): string {
  const parent = join(dirname(folder), "_kept", basename(folder));
  Deno.mkdirSync(parent, { recursive: true });
  const numbers = entriesOf(parent).map(({ name }) => Number(name))
    .filter(Number.isInteger);
  const aside = join(parent, String(Math.max(0, ...numbers) + 1));
  if (Deno.lstatSync(path).isDirectory) Deno.renameSync(path, aside);
  else {
    Deno.mkdirSync(aside);
    Deno.renameSync(path, join(aside, basename(path)));
  }
  return aside;
}
