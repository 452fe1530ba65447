import { dirname, join } from "./paths.ts";
import { digestFile, isDigest } from "./digest.ts";
import {
  entriesOf,
  isReadOnly,
  isTemporary,
  removeFolder,
  removeIfThere,
} from "./files.ts";
import { type Lock, lockFile, tryLockFile } from "./locks.ts";
import type { Manifest } from "./manifests.ts";
import { fileSize, fingerprint } from "./stats.ts";
import type { Store } from "./store.ts";

/**
 * Prevents clean-ups, in all processes, until the lock is released. Undefined
 * if the cache is not writable, so that no clean-up can happen.
 *
 * @param signal Cancels waiting for a clean-up.
 */
export async function holdOff(
  store: Store,
  signal?: AbortSignal,
): Promise<Lock | undefined> {
  try {
    return await lockFile(lockPath(store), {
      shared: true,
      ...(signal !== undefined && { signal }),
    });
  } catch (error) {
    if (isReadOnly(error)) return undefined;
    throw error;
  }
}

/** Milliseconds after which a checkpoint is removed: 14 days. */
const CHECKPOINT_AGE = 14 * 24 * 60 * 60 * 1000;

/** Result of {@linkcode cleanUp}. */
interface CleanUp {
  /** Keys of the results that were removed. */
  readonly removed: readonly string[];
  /** Bytes freed. */
  readonly freed: number;
  /** Bytes of the cache that are left. */
  readonly left: number;
  /** Number of results that nothing may remove, by the reason; some have several. */
  readonly kept: Readonly<Record<"pinned" | "recent" | "shown", number>>;
}

/**
 * Removes all blobs that no result needs, and then the oldest results,
 * checkpoints and logs of failures until the cache takes at most `limit` bytes.
 * Pinned results, those of the latest runs and those that output folders show
 * are kept. The age of a checkpoint is that of its last write.
 *
 * @returns Undefined if nothing was removed, because a run is in progress.
 */
export async function cleanUp(
  store: Store,
  limit: number,
): Promise<CleanUp | undefined> {
  using lock = tryLockFile(lockPath(store));
  if (lock === undefined) return undefined;
  const before = cacheSize(store);
  for (const { path, written } of checkpointsOf(store)) {
    if (written < Date.now() - CHECKPOINT_AGE) removeFolder(path);
  }
  const manifests = store.manifests.all();
  const keepers = {
    pinned: new Set(store.pins.read()),
    recent: new Set(store.usage.keys()),
    // Without its record, what an output folder shows would count as the user's.
    shown: new Set(store.histories.shown(dirname(store.folder))),
  };
  const keptFor = (reason: keyof typeof keepers) =>
    manifests.filter(({ key }) => keepers[reason].has(key)).length;
  const isNeeded = (key: string) =>
    Object.values(keepers).some((keys) => keys.has(key));
  const users = countUsers(manifests);
  removeUnused(store, users);
  let size = cacheSize(store);
  const removed: string[] = [];
  const takeResult = (manifest: Manifest) => {
    if (isNeeded(manifest.key)) return;
    size -= fileSize(store.manifests.path(manifest.key));
    // The manifest goes first: blobs without a manifest are harmless, a manifest without its blobs is not.
    store.manifests.remove(manifest.key);
    removed.push(manifest.key);
    for (const blob of blobsOf(manifest)) {
      const left = users.get(blob)! - 1;
      users.set(blob, left);
      if (left === 0) size -= fileSize(store.blobs.path(blob));
    }
  };
  const oldestFirst = [
    ...manifests.map((manifest) => ({
      at: Date.parse(manifest.started) || 0,
      take: () => takeResult(manifest),
    })),
    ...[...checkpointsOf(store), ...failuresOf(store)]
      .map(({ path, size: bytes, written }) => ({
        at: written,
        take: () => {
          Deno.removeSync(path, { recursive: true });
          size -= bytes;
        },
      })),
  ].sort((a, b) => a.at - b.at);
  for (const { take } of oldestFirst) {
    if (size <= limit) break;
    take();
  }
  removeUnused(store, users);
  await store.stats.prune();
  const left = cacheSize(store);
  const kept = {
    pinned: keptFor("pinned"),
    recent: keptFor("recent"),
    shown: keptFor("shown"),
  };
  return { removed, freed: before - left, left, kept };
}

/** Cleans up if the cache takes more than `limit` bytes. */
export async function keepWithin(store: Store, limit: number): Promise<void> {
  if (cacheSize(store) > limit) await cleanUp(store, limit);
}

/** Number of results that use each blob. */
function countUsers(manifests: readonly Manifest[]): Map<string, number> {
  const users = new Map<string, number>();
  for (const manifest of manifests) {
    for (const blob of blobsOf(manifest)) {
      users.set(blob, (users.get(blob) ?? 0) + 1);
    }
  }
  return users;
}

/** Blobs that a result needs: its files, its log and, for explanations, its code and the listings of its sources. */
function blobsOf({ files, log, parts }: Manifest): Set<string> {
  return new Set([
    ...files.map(({ blob }) => blob),
    log.blob,
    parts.code,
    ...Object.values(parts.sources),
  ]);
}

/** Matches the names of locks. */
const LOCK = /^([0-9a-f]{64}|mutex-[0-9a-f]{16})$/;

/** Folders, with those in them, where files are written beside their place and then renamed. */
const WRITTEN = ["graphs", "manifests", "stages", "used"];

/** Milliseconds after which a temporary file has no writer any more: an hour. */
const TEMPORARY_AGE = 60 * 60 * 1000;

/** Removes files whose writer ended before it renamed them. */
function removeHalfWritten(folder: string, deep: boolean): void {
  for (const { name, isDirectory } of entriesOf(folder)) {
    const path = join(folder, name);
    if (isDirectory && deep) removeHalfWritten(path, deep);
    const { modified } = fingerprint(path) ?? { modified: Date.now() };
    if (isTemporary(name) && Date.now() - modified > TEMPORARY_AGE) {
      removeIfThere(path);
    }
  }
}

/** Removes blobs that no result needs, locks and half-made copies; files of other names are not the cache's. */
function removeUnused(store: Store, users: ReadonlyMap<string, number>): void {
  for (const { name, isDirectory } of entriesOf(store.blobs.folder)) {
    const path = join(store.blobs.folder, name);
    if (name.startsWith("new.") && isTemporary(name)) Deno.removeSync(path);
    for (const file of isDirectory ? entriesOf(path) : []) {
      const blob = name + file.name;
      if (isDigest(blob) && !((users.get(blob) ?? 0) > 0)) {
        Deno.removeSync(join(path, file.name));
      }
    }
  }
  // No lock is held and no process starts while the cache is locked as a whole.
  for (const { name } of entriesOf(store.path("incoming"))) {
    if (isDigest(name)) removeFolder(store.path("incoming", name));
  }
  removeHalfWritten(store.folder, false);
  for (const folder of WRITTEN) removeHalfWritten(store.path(folder), true);
  for (const { name } of entriesOf(store.path("locks"))) {
    if (LOCK.test(name)) Deno.removeSync(store.path("locks", name));
  }
}

/** Outside the folder of locks, whose files a clean-up removes. */
function lockPath(store: Store): string {
  return join(store.makeFolder(), "cleanup.lock");
}

/** What lists say of a result, of the cache or a remote. */
export function summaryOf(manifest: Manifest) {
  const { key, pipeline, stage, task, started, seconds, files } = manifest;
  return {
    ...{ key, pipeline, stage, task, started, seconds },
    /** Bytes of its files, which other results may share. */
    size: files.reduce((sum, { size }) => sum + size, 0),
    files: files.length,
  };
}

/** A result in the cache. */
export type Listed = ReturnType<typeof summaryOf> & {
  readonly pinned: boolean;
  /** True if it is a result of one of the latest runs. */
  readonly used: boolean;
};

/** All results in the cache, latest first. */
export function listResults(store: Store): Listed[] {
  const pinned = store.pins.read();
  const used = store.usage.keys();
  return store.manifests.all().map((manifest) => ({
    ...summaryOf(manifest),
    pinned: pinned.has(manifest.key),
    used: used.has(manifest.key),
  })).sort((a, b) => a.started < b.started ? 1 : -1);
}

/** Disk use of the cache, in bytes. */
interface DiskUse {
  /** Number of results. */
  readonly results: number;
  readonly blobs: number;
  readonly checkpoints: number;
  /** Manifests, logs of failures, memos. */
  readonly other: number;
  readonly total: number;
}

/** Bytes of the cache, except for run folders: their inputs are links to blobs. */
function cacheSize(store: Store): number {
  return folderSize(store.folder, new Set([store.path("runs")]));
}

/** Measures the disk use of the cache, except for run folders. */
export function diskUse(store: Store): DiskUse {
  const blobs = folderSize(store.blobs.folder);
  const checkpoints = folderSize(store.path("checkpoints"));
  const total = cacheSize(store);
  return {
    results: store.manifests.keys().length,
    blobs,
    checkpoints,
    other: total - blobs - checkpoints,
    total,
  };
}

/** Result of {@linkcode audit}. */
interface Audit {
  /** Number of blobs read. */
  readonly blobs: number;
  /** Files that were damaged, or manifests of another version. They are removed, so their stages run again. */
  readonly damaged: readonly string[];
  /** Results that now lack a file, each as `PIPELINE STAGE`. */
  readonly incomplete: readonly string[];
}

/** Reads all blobs and manifests, compares them with their digests and removes those that are damaged. */
export async function audit(store: Store): Promise<Audit> {
  using _live = await holdOff(store);
  const damaged: string[] = [];
  let blobs = 0;
  for (const folder of entriesOf(store.blobs.folder)) {
    if (!folder.isDirectory) continue;
    for (const { name } of entriesOf(join(store.blobs.folder, folder.name))) {
      const blob = folder.name + name;
      if (!isDigest(blob)) continue;
      blobs++;
      const path = store.blobs.path(blob);
      if ((await digestFile(path)).blob === blob) continue;
      damaged.push(path);
      store.blobs.remove(blob);
    }
  }
  for (const key of store.manifests.keys()) {
    const found = store.manifests.read(key);
    if (found.state !== "unusable") continue;
    damaged.push(store.manifests.path(key));
    store.manifests.remove(key);
  }
  const incomplete = [];
  for (const { key, pipeline, stage } of store.manifests.all()) {
    if ((await store.lookup(key)).state !== "found") {
      incomplete.push(`${pipeline} ${stage}`);
    }
  }
  return { blobs, damaged, incomplete };
}

/** The checkpoints of a key, or the log of a failure. */
interface Leftover {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Time of the last write, in milliseconds since 1970. */
  readonly written: number;
}

function checkpointsOf(store: Store): Leftover[] {
  return entriesOf(store.path("checkpoints"))
    .filter(({ name }) => isDigest(name))
    .map(({ name }) => {
      const path = store.path("checkpoints", name);
      return { path, size: folderSize(path), written: lastWrite(path) };
    });
}

/** Logs of failures, of all stages that have a history. */
function failuresOf(store: Store): Leftover[] {
  const { histories } = store;
  return histories.pipelines().flatMap((pipeline) =>
    histories.stages(pipeline).flatMap((stage) => {
      const path = store.path("failures", pipeline, `${stage}.jsonl`);
      const print = fingerprint(path);
      return print === undefined
        ? []
        : [{ path, size: print.size, written: print.modified }];
    })
  );
}

function lastWrite(path: string): number {
  const times = entriesOf(path).map(({ name, isDirectory }) =>
    isDirectory
      ? lastWrite(join(path, name))
      : fingerprint(join(path, name))?.modified ?? 0
  );
  return Math.max(fingerprint(path)?.modified ?? 0, ...times);
}

/** Bytes of all files below a folder; 0 if it does not exist. */
function folderSize(
  folder: string,
  except: ReadonlySet<string> = new Set(),
): number {
  let size = 0;
  for (const entry of entriesOf(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) {
      if (!except.has(path)) size += folderSize(path, except);
      continue;
    }
    try {
      size += Deno.lstatSync(path).size;
    } catch (error) {
      // Another process may have removed it in the meantime.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return size;
}
