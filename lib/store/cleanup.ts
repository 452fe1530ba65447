import { join } from "node:path";
import { digestFile, isDigest } from "./digest.ts";
import { isReadOnly } from "./files.ts";
import { type Lock, lockFile, tryLockFile } from "./locks.ts";
import type { Manifest } from "./manifests.ts";
import { fingerprint } from "./stats.ts";
import type { Store } from "./store.ts";

/** A result in the cache, as it is listed. */
export interface Listed {
  readonly key: string;
  readonly pipeline: string;
  readonly stage: string;
  readonly task: string;
  /** When it was made: ISO 8601. */
  readonly started: string;
  /** Seconds that it took. */
  readonly seconds: number;
  /** Bytes of its files; other results may share them. */
  readonly size: number;
  readonly files: number;
  readonly pinned: boolean;
  /** True if one of the last runs came to it. */
  readonly used: boolean;
}

/** All results in the cache, the last made first. */
export function listResults(store: Store): Listed[] {
  const pinned = store.pins.read();
  const used = store.usage.keys();
  return manifestsOf(store).map((manifest) => ({
    key: manifest.key,
    pipeline: manifest.pipeline,
    stage: manifest.stage,
    task: manifest.task,
    started: manifest.started,
    seconds: manifest.seconds,
    size: manifest.files.reduce((sum, { size }) => sum + size, 0),
    files: manifest.files.length,
    pinned: pinned.has(manifest.key),
    used: used.has(manifest.key),
  })).sort((a, b) => a.started < b.started ? 1 : -1);
}

/** What the cache takes on the disk, in bytes. */
interface DiskUse {
  readonly results: number;
  /** Of all contents, each counted once. */
  readonly blobs: number;
  readonly checkpoints: number;
  /** Manifests, logs of failures and the like. */
  readonly other: number;
  readonly total: number;
}

/** Measures what the cache takes. */
export function diskUse(store: Store): DiskUse {
  const blobs = folderSize(store.blobs.folder);
  const checkpoints = folderSize(store.path("checkpoints"));
  const total = folderSize(store.folder, new Set([store.path("runs")]));
  return {
    results: store.manifests.keys().length,
    blobs,
    checkpoints,
    other: total - blobs - checkpoints,
    total,
  };
}

/** What is left of attempts at a key. */
interface LeftCheckpoint {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** When something was last written into it, in milliseconds since 1970. */
  readonly written: number;
}

/** All checkpoints. */
function checkpointsOf(store: Store): LeftCheckpoint[] {
  return entriesOf(store.path("checkpoints")).map(({ name }) => {
    const path = store.path("checkpoints", name);
    return { path, size: folderSize(path), written: lastWrite(path) };
  });
}

function lastWrite(path: string): number {
  const times = entriesOf(path).map(({ name, isDirectory }) =>
    isDirectory
      ? lastWrite(join(path, name))
      : fingerprint(join(path, name))?.modified ?? 0
  );
  return Math.max(fingerprint(path)?.modified ?? 0, ...times);
}

/** All manifests that can be read. */
function manifestsOf(store: Store): Manifest[] {
  return store.manifests.keys().flatMap((key) => {
    const found = store.manifests.read(key);
    return found.state === "found" ? [found.manifest] : [];
  });
}

/** Bytes of all files below a folder; 0 if there is none. */
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
      // Another process may have removed it meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return size;
}

/** What a folder holds; nothing if it does not exist. */
export function entriesOf(folder: string): Deno.DirEntry[] {
  try {
    return [...Deno.readDirSync(folder)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Days after which what an unfinished stage left to go on from is given up. */
const CHECKPOINT_DAYS = 14;
const DAY = 24 * 60 * 60 * 1000;

/** What a clean-up did. */
interface CleanUp {
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

/** What is wrong with a cache. */
interface Audit {
  /** Contents read in full. */
  readonly blobs: number;
  /** Files of the cache that were damaged; they are removed, so their results will be made again. */
  readonly damaged: readonly string[];
  /** Results that lack a file now: pipeline and stage. */
  readonly incomplete: readonly string[];
}

/** Reads everything in the cache and compares it with its digest. */
export async function audit(store: Store): Promise<Audit> {
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
    if (found.state !== "unusable" || found.newer) continue;
    damaged.push(store.manifests.path(key));
    store.manifests.remove(key);
  }
  const incomplete = [];
  for (const { key, pipeline, stage } of manifestsOf(store)) {
    if ((await store.lookup(key)).state !== "found") {
      incomplete.push(`${pipeline} ${stage}`);
    }
  }
  return { blobs, damaged, incomplete };
}
