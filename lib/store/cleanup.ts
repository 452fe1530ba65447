import { dirname, join } from "../files/paths.ts";
import { digestFile, isDigest } from "../files/digest.ts";
import {
  entriesBelow,
  entriesOf,
  isReadOnly,
  isTemporary,
  removeFolder,
  removeIfThere,
} from "../files/files.ts";
import { type Lock, lockFile, tryLockFile } from "../files/locks.ts";
import type { Manifest } from "./manifests.ts";
import { fileSize, fingerprint, folderSize } from "../files/fingerprints.ts";
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
    return await lockFile(lockPath(store), { shared: true, signal });
  } catch (error) {
    if (isReadOnly(error)) return undefined;
    throw error;
  }
}

/** Milliseconds after which a checkpoint is removed: 14 days. */
const CHECKPOINT_AGE = 14 * 24 * 60 * 60 * 1000;

/** What a clean-up has removed and kept, as `cache gc --json` prints it. */
export interface CleanUp {
  /** Keys of the results that were removed. */
  readonly removed: readonly string[];
  /** Bytes freed. */
  readonly freed: number;
  /** Bytes of the cache that are left. */
  readonly left: number;
  /**
   * Number of results that nothing may remove, by the reason; some have
   * several.
   */
  readonly kept: {
    readonly pinned: number;
    /** Of the latest runs. */
    readonly recent: number;
    /** In output folders. */
    readonly shown: number;
  };
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
    recent: new Set(store.recentRuns.keys()),
    // Without its record, what an output folder shows would count as the
    // user's.
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
  const removeResult = (manifest: Manifest) => {
    if (isNeeded(manifest.key)) return;
    size -= fileSize(store.manifests.path(manifest.key));
    // The manifest goes first: blobs without a manifest are harmless, a
    // manifest without its blobs is not.
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
      remove: () => removeResult(manifest),
    })),
    ...[...checkpointsOf(store), ...failuresOf(store)]
      .map(({ path, size: bytes, written }) => ({
        at: written,
        remove: () => {
          Deno.removeSync(path, { recursive: true });
          size -= bytes;
        },
      })),
  ].sort((a, b) => a.at - b.at);
  for (const { remove } of oldestFirst) {
    if (size <= limit) break;
    remove();
  }
  removeUnused(store, users);
  await store.stats.prune();
  const left = cacheSize(store);
  return {
    removed,
    freed: before - left,
    left,
    kept: {
      pinned: keptFor("pinned"),
      recent: keptFor("recent"),
      shown: keptFor("shown"),
    },
  };
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

/**
 * Blobs that a result needs: its files, its log and, for explanations, its code
 * and the listings of its sources.
 */
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

/**
 * Milliseconds after which a temporary file has no writer any more: an hour.
 */
const TEMPORARY_AGE = 60 * 60 * 1000;

/**
 * Removes blobs that no result needs, locks and half-made copies; files of
 * other names are not the cache's.
 */
function removeUnused(store: Store, users: ReadonlyMap<string, number>): void {
  for (const blob of store.blobs.all()) {
    if (!((users.get(blob) ?? 0) > 0)) store.blobs.remove(blob);
  }
  for (const { name, path } of entriesBelow(store.folder)) {
    if (!isTemporary(name)) continue;
    const { modified } = fingerprint(path) ?? { modified: Date.now() };
    // Its writer ended before it renamed it.
    if (Date.now() - modified > TEMPORARY_AGE) removeIfThere(path);
  }
  // No lock is held and no process starts while the cache is locked as a whole.
  for (const { name } of entriesOf(store.path("locks"))) {
    if (LOCK.test(name)) Deno.removeSync(store.path("locks", name));
  }
}

/** Outside the folder of locks, whose files a clean-up removes. */
function lockPath(store: Store): string {
  return join(store.makeFolder(), "cleanup.lock");
}

/** A result in a list of those of the cache or of a remote. */
export interface ResultSummary extends
  Pick<
    Manifest,
    "key" | "pipeline" | "stage" | "task" | "started" | "seconds"
  > {
  /** Bytes of its files, which other results may share. */
  readonly size: number;
  /** Number of its files. */
  readonly files: number;
}

/** The summary of a result. */
export function summaryOf(manifest: Manifest): ResultSummary {
  return {
    key: manifest.key,
    pipeline: manifest.pipeline,
    stage: manifest.stage,
    task: manifest.task,
    started: manifest.started,
    seconds: manifest.seconds,
    size: manifest.files.reduce((sum, { size }) => sum + size, 0),
    files: manifest.files.length,
  };
}

/** A result in the cache: a line of `cache list --json`. */
export interface Listed extends ResultSummary {
  readonly pinned: boolean;
  /** True if it is a result of one of the latest runs. */
  readonly used: boolean;
}

/** All results in the cache, latest first. */
export function listResults(store: Store): Listed[] {
  const pinned = store.pins.read();
  const used = store.recentRuns.keys();
  return store.manifests.all().map((manifest) => ({
    ...summaryOf(manifest),
    pinned: pinned.has(manifest.key),
    used: used.has(manifest.key),
  })).sort((a, b) => a.started < b.started ? 1 : -1);
}

/**
 * Bytes of the cache, except for run folders: their inputs are links to blobs.
 */
function cacheSize(store: Store): number {
  return entriesOf(store.folder).reduce(
    (sum, { name, isDirectory }) =>
      name === "runs"
        ? sum
        : sum + (isDirectory ? folderSize : fileSize)(store.path(name)),
    0,
  );
}

/** Measures the disk use of the cache in bytes, except for run folders. */
export function diskUse(store: Store) {
  const blobs = folderSize(store.blobs.folder);
  const checkpoints = folderSize(store.path("checkpoints"));
  const total = cacheSize(store);
  return {
    /** Number of results. */
    results: store.manifests.keys().length,
    blobs,
    checkpoints,
    /** Manifests, logs of failures, memos. */
    other: total - blobs - checkpoints,
    total,
  };
}

/**
 * Reads all blobs and manifests, compares them with their digests and removes
 * those that are damaged, or of another version, so that their stages run
 * again.
 */
export async function audit(store: Store) {
  using _live = await holdOff(store);
  const damaged: string[] = [];
  const blobs = store.blobs.all();
  for (const blob of blobs) {
    const path = store.blobs.path(blob);
    if ((await digestFile(path)).blob === blob) continue;
    damaged.push(path);
    store.blobs.remove(blob);
  }
  for (const key of store.manifests.keys()) {
    const lookup = store.manifests.read(key);
    if (lookup.state !== "unusable") continue;
    damaged.push(store.manifests.path(key));
    store.manifests.remove(key);
  }
  const incomplete = [];
  for (const { key, pipeline, stage } of store.manifests.all()) {
    if ((await store.lookup(key)).state !== "found") {
      incomplete.push(`${pipeline} ${stage}`);
    }
  }
  return {
    /** Number of blobs read. */
    blobs: blobs.length,
    /** Paths of what was removed. */
    damaged,
    /** Results that now lack a file, each as `PIPELINE STAGE`. */
    incomplete,
  };
}

/**
 * Checkpoints by key: their folders, bytes, and the time of the last write, in
 * milliseconds since 1970.
 */
function checkpointsOf(store: Store) {
  return entriesOf(store.path("checkpoints"))
    .filter(({ name }) => isDigest(name))
    .map(({ name }) => {
      const path = store.path("checkpoints", name);
      return { path, size: folderSize(path), written: lastWrite(path) };
    });
}

/** Logs of failures, described as {@linkcode checkpointsOf} does. */
function failuresOf(store: Store) {
  return entriesBelow(store.path("failures"))
    .filter(({ name }) => name.endsWith(".jsonl"))
    .map(({ path }) => {
      const { size, modified } = fingerprint(path)!;
      return { path, size, written: modified };
    }).toArray();
}

function lastWrite(folder: string): number {
  const paths = [...entriesBelow(folder)].map(({ path }) => path);
  return Math.max(
    ...[folder, ...paths].map((it) => fingerprint(it)?.modified ?? 0),
  );
}
