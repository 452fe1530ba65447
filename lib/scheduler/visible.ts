import { basename, dirname, join } from "../store/paths.ts";
import type { GraphStage } from "../pipeline/graph.ts";
import { listFiles, NotAFileError, type TreeFile } from "../store/blobs.ts";
import { digest } from "../store/digest.ts";
import {
  entriesOf,
  exchange,
  EXDEV,
  isMissing,
  osError,
  removeFolder,
  syncFolder,
  syncTree,
  temporarySuffix,
} from "../store/files.ts";
import { lockFile, tryLockFile } from "../store/locks.ts";
import { filesOfKey, type Manifest } from "../store/manifests.ts";
import { linkFingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import type { Context } from "./context.ts";
import type { Event } from "./events.ts";

/** Folder of a stage's artifact that the user sees: `out/PIPELINE/STAGE`. */
export function visibleFolder(
  out: string,
  pipeline: string,
  stage: Pick<GraphStage, "id">,
): string {
  return join(out, pipeline, stage.id);
}

/** First difference between a folder and an artifact: `output file scores.json is changed`; undefined if they are equal. */
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
  if (added !== undefined) return `output file ${added} was added`;
  const found = new Set(present);
  for (const [path, blob] of expected) {
    if (!found.has(path)) return `output file ${path} is missing`;
    if (await store.stats.digest(join(folder, path)) !== blob) {
      return `output file ${path} is changed`;
    }
  }
  return undefined;
}

/** Files of the user that were moved out of an output folder. */
type Kept = Extract<Event, { type: "kept" }>;

/** How a visible folder is replaced. */
interface Replacement {
  /** Folder with the artifact, which is moved; by default, it is copied from the cache. */
  readonly fresh?: string;
  /** Cancels waiting for another process. */
  readonly signal: AbortSignal;
  /** Called if the former folder held files of the user and was moved aside. */
  readonly onKept: (kept: Kept) => void;
}

/**
 * Puts a result in the visible folder of its stage, in place of what is there.
 * The files are copies, so the user may edit them. A folder with files that the
 * cache has not written is moved to `_kept/STAGE/N` beside it as a whole.
 *
 * @throws {DamagedBlobError} If the cache has lost a file of the result.
 */
export async function makeVisible(
  context: Context,
  stage: Pick<GraphStage, "id">,
  manifest: Manifest,
  { fresh, signal, onKept }: Replacement,
): Promise<void> {
  const { graph: { pipeline }, settings, store } = context;
  const folder = visibleFolder(settings.out, pipeline, stage);
  using _lock = await lockFile(await lockPath(folder, store), { signal });
  const copy = store.path("incoming", await digest(folder));
  const beside = replacedFolder(folder);
  try {
    if (fresh === undefined) {
      // An earlier process may have been killed while it copied.
      removeFolder(copy);
      Deno.mkdirSync(copy, { recursive: true });
      for (const { path, blob } of manifest.files) {
        await store.blobs.copyTo(blob, join(copy, path));
      }
      setModes(copy);
    }
    await keepForeign(beside, context, stage, onKept);
    removeFolder(beside);
    move(fresh ?? copy, beside);
    await keepForeign(folder, context, stage, onKept);
    replaceFolder(folder, beside);
  } finally {
    removeFolder(copy);
    removeFolder(beside);
  }
}

/** Path beside a visible folder for the next or the former one, while it is replaced. */
function replacedFolder(folder: string): string {
  return join(dirname(folder), `.${basename(folder)}.replaced`);
}

/** Matches the names of such folders, and the id of the stage in them. */
const REPLACED = /^\.(.+)\.replaced$/;

/** Clears what killed processes left beside the visible folders of a pipeline. */
export async function sweepVisible(
  context: Context,
  onKept: (kept: Kept) => void,
): Promise<void> {
  const { graph: { pipeline }, settings: { out }, store } = context;
  for (const { name } of entriesOf(join(out, pipeline))) {
    const [, id] = REPLACED.exec(name) ?? [];
    if (id === undefined) continue;
    const folder = visibleFolder(out, pipeline, { id });
    using lock = tryLockFile(await lockPath(folder, store));
    if (lock === undefined) continue;
    await keepForeign(replacedFolder(folder), context, { id }, onKept);
    removeFolder(replacedFolder(folder));
  }
}

/**
 * Gives all files and folders the modes that new ones have, so that a restored
 * output equals the first one. A hard link, through which an edit would change
 * another file, becomes a copy.
 */
export function setModes(folder: string): void {
  const mask = Deno.umask();
  Deno.chmodSync(folder, 0o777 & ~mask);
  for (const { name, isDirectory } of entriesOf(folder)) {
    const path = join(folder, name);
    if (isDirectory) {
      setModes(path);
      continue;
    }
    if ((Deno.statSync(path).nlink ?? 1) > 1) {
      const copy = `${path}.${temporarySuffix()}`;
      Deno.copyFileSync(path, copy);
      Deno.renameSync(copy, path);
    }
    Deno.chmodSync(path, 0o666 & ~mask);
  }
}

/** Moves a folder, flushed to the disk; to another disk, it is copied. */
function move(from: string, to: string): void {
  syncTree(from);
  Deno.mkdirSync(dirname(to), { recursive: true });
  try {
    Deno.renameSync(from, to);
  } catch (error) {
    if (osError(error) !== EXDEV) throw error;
    copyFolder(from, to);
    syncTree(to);
  }
}

function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    const [member, copy] = [join(from, name), join(to, name)];
    if (isDirectory) copyFolder(member, copy);
    else Deno.copyFileSync(member, copy);
  }
}

/** Puts a folder in place of another on the same disk, which, where the system can swap them, is then at its path. */
export function replaceFolder(folder: string, fresh: string): void {
  if (!exchange(fresh, folder)) {
    removeFolder(folder);
    Deno.renameSync(fresh, folder);
  }
  syncFolder(dirname(folder));
}

/** Moves what is at a path to `_kept` if it holds anything that the cache has not written for the stage. */
async function keepForeign(
  path: string,
  { graph: { pipeline }, settings: { out }, store }: Context,
  { id: stage }: Pick<GraphStage, "id">,
  onKept: (kept: Kept) => void,
): Promise<void> {
  if (linkFingerprint(path) === undefined) return;
  const written = Map.groupBy(
    store.results(pipeline, stage).flatMap(filesOfKey),
    ({ path }) => path,
  );
  let files = 0;
  const look = async (below: string) => {
    for (const { name, isDirectory, isFile } of entriesOf(join(path, below))) {
      const member = below === "" ? name : `${below}/${name}`;
      if (isDirectory) {
        await look(member);
        continue;
      }
      const known = isFile && written.get(member);
      const blob = known &&
        await store.stats.digest(join(path, member));
      if (!known || !known.some((it) => it.blob === blob)) files++;
    }
  };
  if (Deno.lstatSync(path).isDirectory) await look("");
  else files++;
  if (files === 0) return;
  const folder = keepAside(path, visibleFolder(out, pipeline, { id: stage }));
  onKept({ type: "kept", stage, files, folder });
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
  try {
    Deno.mkdirSync(parent, { recursive: true });
  } catch (error) {
    if (!isMissing(error) && !(error instanceof Deno.errors.AlreadyExists)) {
      throw error;
    }
    throw new Error(
      `"${path}" holds files of yours, but a file is in the way of "${parent}", to which they would be moved; rename it, and run again`,
      { cause: error },
    );
  }
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

/** Lock of a visible folder, held while it is replaced. */
async function lockPath(folder: string, store: Store): Promise<string> {
  return join(store.makeFolder("locks"), await digest(folder));
}
