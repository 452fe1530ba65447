import { join } from "node:path";
import { digestFile, isDigest } from "./digest.ts";
import { entriesOf, manifestsOf } from "./inventory.ts";
import type { Store } from "./store.ts";

/** What is wrong with a cache. */
export interface Audit {
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
