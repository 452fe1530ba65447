import { join } from "node:path";
import { fingerprint } from "./fingerprint.ts";
import type { Manifest } from "./manifest.ts";
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
export interface DiskUse {
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
export interface LeftCheckpoint {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** When something was last written into it, in milliseconds since 1970. */
  readonly written: number;
}

/** All checkpoints. */
export function checkpointsOf(store: Store): LeftCheckpoint[] {
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
export function manifestsOf(store: Store): Manifest[] {
  return store.manifests.keys().flatMap((key) => {
    const found = store.manifests.read(key);
    return found.state === "found" ? [found.manifest] : [];
  });
}

/** Bytes of all files below a folder; 0 if there is none. */
export function folderSize(
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
