import { basename, dirname, join, relativeIfBelow } from "../store/paths.ts";
import type { GraphStage } from "../pipeline/graph.ts";
import { listFiles, NotAFileError, type TreeFile } from "../store/blobs.ts";
import { digest } from "../store/digest.ts";
import {
  entriesOf,
  exchange,
  EXDEV,
  osError,
  readIfThere,
  removeFolder,
  removeIfThere,
  renameIfThere,
  syncFolder,
  syncTree,
  TEMPORARY,
  temporarySuffix,
} from "../store/files.ts";
import { lockFile, tryLockFile } from "../store/locks.ts";
import { filesOfKey, type Manifest } from "../store/manifests.ts";
import { fingerprint } from "../store/stats.ts";
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

/** The visible folder of a stage, relative to the project if it is below it. */
export function placeOf(
  { graph: { pipeline }, settings: { out, project } }: Context,
  stage: Pick<GraphStage, "id">,
): string {
  return relativeIfBelow(project, visibleFolder(out, pipeline, stage));
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
    if (await store.stats.digest(join(folder, path), "output") !== blob) {
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
  /** Called if files of the user were moved aside. */
  readonly onKept: (kept: Kept) => void;
}

/**
 * Puts a result in the visible folder of its stage, in place of what is there.
 * The files are copies, so the user may edit them. Files that the cache has not
 * written are moved to `_kept/STAGE/N` beside the folder.
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
  using _lock = await lockFile(lockPath(folder, store), { signal });
  const remains = new Remains(folder, pipeline, stage.id, store);
  checkAside(folder);
  await remains.sweep();
  const copy = store.path("incoming", digest(folder));
  try {
    if (fresh === undefined) {
      // An earlier process may have been killed while it copied.
      removeFolder(copy);
      Deno.mkdirSync(copy, { recursive: true });
      for (const { path, blob } of manifest.files) {
        await store.blobs.copyTo(blob, join(copy, path));
      }
    }
    setModes(fresh ?? copy);
    replaceFolder(folder, fresh ?? copy, (kind) => remains.beside(kind));
    await remains.sweep();
  } finally {
    removeFolder(copy);
    if (remains.kept !== undefined) onKept(remains.kept);
  }
}

/**
 * Gives all files and folders the modes that new ones have, so that a restored
 * output equals the first one. A hard link, through which an edit would change
 * another file, becomes a copy.
 */
function setModes(folder: string): void {
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

/**
 * Moves a folder in place of another; atomically, where the system can. It is
 * flushed to the disk first, so that a power loss cannot leave half of it. The
 * other folder, if there was one, is then at a path that `beside` gave.
 *
 * @param beside Gives a new path in the same folder as `folder`: for a folder that was visible or will be, or for a copy.
 */
export function replaceFolder(
  folder: string,
  fresh: string,
  beside: (kind: Temporary) => string,
): void {
  syncTree(fresh);
  Deno.mkdirSync(dirname(folder), { recursive: true });
  // What was visible must never be where a clean-up deletes everything.
  const place = beside("visible");
  try {
    Deno.renameSync(fresh, place);
  } catch (error) {
    if (osError(error) !== EXDEV) throw error;
    // The outputs, or the cache, are on another disk by a link or a mount.
    const copy = beside("copy");
    copyFolder(fresh, copy);
    syncTree(copy);
    Deno.renameSync(copy, place);
  }
  if (!exchange(place, folder)) {
    renameIfThere(folder, beside("visible"));
    Deno.renameSync(place, folder);
  }
  syncFolder(dirname(folder));
}

function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    const [member, copy] = [join(from, name), join(to, name)];
    if (isDirectory) copyFolder(member, copy);
    else Deno.copyFileSync(member, copy);
  }
}

/** Clears what dead processes left beside the visible folders of a pipeline. */
export async function sweepVisible(
  { graph: { pipeline }, settings, store }: Context,
  onKept: (kept: Kept) => void,
): Promise<void> {
  const names = entriesOf(store.path(REPLACED, pipeline));
  for (const stage of new Set(names.flatMap(({ name }) => ownerOf(name)))) {
    const visible = visibleFolder(settings.out, pipeline, { id: stage });
    using lock = tryLockFile(lockPath(visible, store));
    if (lock === undefined) continue;
    const remains = new Remains(visible, pipeline, stage, store);
    await remains.sweep();
    if (remains.kept !== undefined) onKept(remains.kept);
  }
}

/**
 * Folder of the cache that lists the temporary folders beside visible ones, by
 * pipeline: for each, a file of the same name that says what it is. A folder
 * that is not in this list is the user's, whatever its name is.
 */
const REPLACED = "replaced";

/** A temporary folder: one that was visible or will be, or a copy, in which nothing is the user's. */
type Temporary = "visible" | "copy";

/** The stage beside whose visible folder a temporary folder is; none if the name is not of a temporary folder. */
function ownerOf(name: string): string[] {
  const [, stage, suffix] = /^\.(.+)\.([^.]+)$/.exec(name) ?? [];
  return suffix !== undefined && TEMPORARY.test(suffix) ? [stage!] : [];
}

/**
 * What was in a visible folder before it was replaced. Files that the cache has
 * written are removed; anything else is the user's and is moved aside. The lock
 * of the folder must be held.
 */
class Remains {
  readonly #folder: string;
  readonly #pipeline: string;
  readonly #stage: string;
  readonly #store: Store;
  /** Digests of the files that the cache has written, by path. */
  #written: Map<string, Set<string>> | undefined;
  /** Folder for what is the user's; created if needed. */
  #aside: string | undefined;
  #count = 0;

  constructor(folder: string, pipeline: string, stage: string, store: Store) {
    this.#folder = folder;
    this.#pipeline = pipeline;
    this.#stage = stage;
    this.#store = store;
  }

  /** What was moved aside; undefined if nothing was. */
  get kept(): Kept | undefined {
    if (this.#aside === undefined || this.#count === 0) return undefined;
    return {
      type: "kept",
      stage: this.#stage,
      files: this.#count,
      folder: this.#aside,
    };
  }

  /** A new temporary path beside the visible folder, listed as the scheduler's. */
  beside(kind: Temporary): string {
    const name = `.${basename(this.#folder)}.${temporarySuffix()}`;
    this.#store.makeFolder(REPLACED, this.#pipeline);
    Deno.writeTextFileSync(this.#listed(name), kind);
    return join(dirname(this.#folder), name);
  }

  #listed(name = ""): string {
    return this.#store.path(REPLACED, this.#pipeline, name);
  }

  /**
   * Removes the temporary folders beside the visible folder, after moving aside
   * what is the user's: what was replaced, by this process or by one that died.
   */
  async sweep(): Promise<void> {
    for (const { name } of entriesOf(this.#listed())) {
      if (ownerOf(name)[0] !== basename(this.#folder)) continue;
      const path = join(dirname(this.#folder), name);
      const kind = readIfThere(this.#listed(name));
      // A scheduler on another host, which may not see the lock, has swept it.
      if (kind === undefined) continue;
      if (kind === "copy") removeFolder(path);
      else await this.#take(path);
      // Out of the list, it would be the user's: a network disk may say for a moment that it is not there.
      if (fingerprint(path) === undefined) removeIfThere(this.#listed(name));
    }
  }

  async #take(old: string): Promise<void> {
    let isFolder: boolean;
    try {
      isFolder = Deno.lstatSync(old).isDirectory;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    if (isFolder) await this.#clear(old, "");
    else this.#keep(old, basename(this.#folder));
  }

  async #clear(root: string, below: string): Promise<void> {
    const folder = join(root, below);
    for (const { name, isDirectory, isFile } of entriesOf(folder)) {
      const path = below === "" ? name : `${below}/${name}`;
      const whole = join(root, path);
      if (isDirectory) await this.#clear(root, path);
      else if (isFile && await this.#isWritten(whole, path)) {
        removeIfThere(whole);
      } else this.#keep(whole, path);
    }
    // A scheduler on another host, which may not see the lock, sweeps too.
    removeIfThere(folder);
  }

  /** True if the cache has written this content at this path. */
  async #isWritten(whole: string, path: string): Promise<boolean> {
    this.#written ??= this.#filesWritten();
    const blobs = this.#written.get(path);
    if (blobs === undefined) return false;
    const name = join(this.#folder, path);
    const blob = await this.#store.stats.digest(whole, "output", name);
    return blob !== undefined && blobs.has(blob);
  }

  #filesWritten(): Map<string, Set<string>> {
    const written = new Map<string, Set<string>>();
    const results = this.#store.results(this.#pipeline, this.#stage);
    for (const { path, blob } of results.flatMap(filesOfKey)) {
      const blobs = written.get(path) ?? new Set();
      written.set(path, blobs.add(blob));
    }
    return written;
  }

  #keep(whole: string, path: string): void {
    this.#aside ??= newAside(this.#folder);
    const kept = join(this.#aside, path);
    Deno.mkdirSync(dirname(kept), { recursive: true });
    // Another host may have moved or removed it.
    if (renameIfThere(whole, kept)) this.#count++;
  }
}

/** Folder beside the visible folders of a pipeline, for files of the user. No stage can have this name. */
const KEPT = "_kept";

/**
 * Moves a file of the user aside that has the place of another one beside the
 * visible folders of a pipeline.
 *
 * @param folder Visible folder of the stage to which the place belongs.
 * @returns The folder that it is in now.
 */
export function keepAside(path: string, folder: string): string {
  const aside = newAside(folder);
  Deno.renameSync(path, join(aside, basename(path)));
  return aside;
}

/**
 * @param folder A visible folder that is about to be replaced.
 * @throws {Error} If a file has the place of the folder to which files of the user would be moved.
 */
function checkAside(folder: string): void {
  for (const parts of [[KEPT], [KEPT, basename(folder)]]) {
    const path = join(dirname(folder), ...parts);
    try {
      if (Deno.statSync(path).isDirectory) continue;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      throw error;
    }
    throw new Error(
      `"${path}" is not a folder, so no file of yours in "${folder}" could be moved there; rename it, and run again`,
    );
  }
}

/** Creates the first of the folders `_kept/STAGE/1`, 2, ... beside a visible folder that does not exist. */
function newAside(folder: string): string {
  const parent = join(dirname(folder), KEPT, basename(folder));
  Deno.mkdirSync(parent, { recursive: true });
  for (let n = 1;; n++) {
    try {
      const path = join(parent, String(n));
      Deno.mkdirSync(path);
      return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
  }
}

/** Lock of a visible folder, held while it is replaced. */
function lockPath(folder: string, store: Store): string {
  return join(store.makeFolder("locks"), digest(folder));
}
