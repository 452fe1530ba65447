import { join } from "node:path";
import { entriesOf, folderSize, manifestsOf } from "./inventory.ts";
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
  /** Bytes of contents that are left. */
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
 * Removes the oldest results until the cache's contents take no more than
 * `limit` bytes, and whatever no result needs. Results that are pinned, or that
 * one of the last runs came to, stay in any case.
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
  const before = folderSize(store.blobs.folder);
  const manifests = manifestsOf(store).sort((a, b) =>
    a.started < b.started ? -1 : 1
  );
  const needed = new Set([...store.pins.read(), ...store.usage.keys()]);
  const users = countUsers(manifests, store);
  let size = 0;
  for (const blob of users.keys()) size += sizeOf(store, blob);
  const removed: string[] = [];
  for (const manifest of manifests) {
    if (size <= limit) break;
    if (needed.has(manifest.key)) continue;
    // The manifest goes first: a result without one is only of no use, but one without its files would be wrong.
    store.manifests.remove(manifest.key);
    removed.push(manifest.key);
    for (const blob of blobsOf(manifest, store)) {
      const left = users.get(blob)! - 1;
      users.set(blob, left);
      if (left === 0) size -= sizeOf(store, blob);
    }
  }
  removeUnused(store, users);
  removeOldCheckpoints(store);
  await store.stats.prune();
  const left = folderSize(store.blobs.folder);
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
  if (folderSize(store.blobs.folder) > limit) await cleanUp(store, limit);
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

/** All that a result needs: its files, its log, and its code for explanations. */
function blobsOf({ files, log, parts }: Manifest, store: Store): Set<string> {
  const blobs = new Set([
    ...files.map(({ blob }) => blob),
    log.blob,
    parts.code,
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
  for (const { name } of entriesOf(store.path("checkpoints"))) {
    const path = store.path("checkpoints", name);
    const modified = Deno.statSync(path).mtime?.getTime() ?? 0;
    if (modified < Date.now() - CHECKPOINT_DAYS * DAY) {
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
