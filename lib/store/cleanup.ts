import { join } from "node:path";
import {
  checkpointsOf,
  entriesOf,
  folderSize,
  manifestsOf,
} from "./inventory.ts";
import { type Lock, lockFile, tryLockFile } from "./locks.ts";
import type { Manifest } from "./manifest.ts";
import { isReadOnly } from "./os_error.ts";
import type { Store } from "./store.ts";

/** Days after which what an unfinished stage left to go on from is given up. */
const CHECKPOINT_DAYS = 14;
const DAY = 24 * 60 * 60 * 1000;

/** What a clean-up did. */
export interface CleanUp {
  /** Keys of the results that were removed. */
  readonly removed: readonly string[];
  /** Bytes that were freed. */
  readonly freed: number;
  /** Bytes of contents and checkpoints that are left. */
  readonly left: number;
}

/**
 * Says that a run is going on, so that nothing is cleaned up until it ends.
 * Undefined if the cache cannot be written, so that nothing can be.
 */
export async function holdOff(store: Store): Promise<Lock | undefined> {
  try {
    return await lockFile(lockPath(store), { shared: true });
  } catch (error) {
    if (isReadOnly(error)) return undefined;
    throw error;
  }
}

/**
 * Removes the oldest results and checkpoints until the cache's contents take no
 * more than `limit` bytes, and whatever no result needs. Results that are
 * pinned, or that one of the last runs came to, stay in any case; a checkpoint
 * is as old as what was written into it last.
 *
 * @returns Undefined if nothing is removed, because a run is going on, or
 * because a newer version of this program keeps results there, whose needs
 * this one does not know.
 */
export async function cleanUp(
  store: Store,
  limit: number,
): Promise<CleanUp | undefined> {
  using lock = tryLockFile(lockPath(store));
  if (lock === undefined || hasNewer(store)) return undefined;
  const before = sizeOfAll(store);
  removeOldCheckpoints(store);
  const manifests = manifestsOf(store);
  const checkpoints = checkpointsOf(store);
  const needed = new Set([...store.pins.read(), ...store.usage.keys()]);
  const users = countUsers(manifests, store);
  let size = checkpoints.reduce((sum, { size }) => sum + size, 0);
  for (const blob of users.keys()) size += sizeOf(store, blob);
  const removed: string[] = [];
  const takeCheckpoint = (path: string, bytes: number) => {
    Deno.removeSync(path, { recursive: true });
    size -= bytes;
  };
  const takeResult = (manifest: Manifest) => {
    if (needed.has(manifest.key)) return;
    // The manifest goes first: a result without one is only of no use, but one without its files would be wrong.
    store.manifests.remove(manifest.key);
    removed.push(manifest.key);
    for (const blob of blobsOf(manifest, store)) {
      const left = users.get(blob)! - 1;
      users.set(blob, left);
      if (left === 0) size -= sizeOf(store, blob);
    }
  };
  const oldestFirst = [
    ...manifests.map((manifest) => ({
      at: Date.parse(manifest.started) || 0,
      take: () => takeResult(manifest),
    })),
    ...checkpoints.map(({ path, size, written }) => ({
      at: written,
      take: () => takeCheckpoint(path, size),
    })),
  ].sort((a, b) => a.at - b.at);
  for (const { take } of oldestFirst) {
    if (size <= limit) break;
    take();
  }
  removeUnused(store, users);
  await store.stats.prune();
  const left = sizeOfAll(store);
  return { removed, freed: before - left, left };
}

function hasNewer(store: Store): boolean {
  return store.manifests.keys().some((key) => {
    const found = store.manifests.read(key);
    return found.state === "unusable" && found.newer;
  });
}

/** Cleans up if the contents take more than `limit` bytes. */
export async function keepWithin(store: Store, limit: number): Promise<void> {
  if (sizeOfAll(store) > limit) await cleanUp(store, limit);
}

/** Bytes of what the limit is for. */
function sizeOfAll(store: Store): number {
  return folderSize(store.blobs.folder) +
    folderSize(store.path("checkpoints"));
}

/** Lies outside the folder of locks, so that it can be removed as a whole. */
function lockPath(store: Store): string {
  return join(store.makeFolder(), "cleanup.lock");
}

function countUsers(
  manifests: readonly Manifest[],
  store: Store,
): Map<string, number> {
  const users = new Map<string, number>();
  for (const manifest of manifests) {
    for (const blob of blobsOf(manifest, store)) {
      users.set(blob, (users.get(blob) ?? 0) + 1);
    }
  }
  return users;
}

/** All that a result needs: its files, its log, and for explanations its code and the lists of its sources' files. */
function blobsOf({ files, log, parts }: Manifest, store: Store): Set<string> {
  const blobs = new Set([
    ...files.map(({ blob }) => blob),
    log.blob,
    parts.code,
    ...Object.values(parts.sources),
  ]);
  const listing = store.blobs.text(parts.code);
  if (listing !== undefined) {
    const { modules } = JSON.parse(listing) as {
      modules: Record<string, { text: string }>;
    };
    for (const { text } of Object.values(modules)) blobs.add(text);
  }
  return blobs;
}

function removeUnused(store: Store, users: ReadonlyMap<string, number>): void {
  for (const { name, isDirectory } of entriesOf(store.blobs.folder)) {
    const path = join(store.blobs.folder, name);
    if (!isDirectory) Deno.removeSync(path);
    for (const file of isDirectory ? entriesOf(path) : []) {
      if (!((users.get(name + file.name) ?? 0) > 0)) {
        Deno.removeSync(join(path, file.name));
      }
    }
  }
  // Nobody holds a lock or starts a process while the cache is locked as a whole.
  for (const folder of ["locks", "entries"]) {
    for (const { name } of entriesOf(store.path(folder))) {
      Deno.removeSync(store.path(folder, name));
    }
  }
}

function removeOldCheckpoints(store: Store): void {
  for (const { path, written } of checkpointsOf(store)) {
    if (written < Date.now() - CHECKPOINT_DAYS * DAY) {
      Deno.removeSync(path, { recursive: true });
    }
  }
}

function sizeOf(store: Store, blob: string): number {
  try {
    return Deno.statSync(store.blobs.path(blob)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}
