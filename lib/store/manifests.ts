import { join } from "node:path";
import { canonicalJson } from "./canonical.ts";
import { digest, isDigest } from "./digest.ts";
import {
  type Fault,
  type KeyParts,
  type Manifest,
  parseManifest,
} from "./manifest.ts";
import { removeIfThere } from "./durable.ts";
import { readSealed, writeSealed } from "./sealed.ts";

/** What looking for a manifest gives. */
export type Lookup =
  | { readonly state: "found"; readonly manifest: Manifest }
  | { readonly state: "none" }
  /** There is one, but it cannot be used: `is damaged`. */
  | { readonly state: "unusable" } & Fault;

/** The key that parts make. */
export function keyOf(parts: KeyParts): string {
  return digest(canonicalJson(parts));
}

/** One manifest for each key: `manifests/ab/cdef....json`. */
export class Manifests {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  path(key: string): string {
    return `${this.folder}/${key.slice(0, 2)}/${key.slice(2)}.json`;
  }

  /**
   * Reads the manifest of a key.
   *
   * @param canonical The canonical JSON of the key's parts, where it is at
   * hand: comparing with it takes less than the digest.
   */
  read(key: string, canonical?: string): Lookup {
    const sealed = readSealed(this.path(key));
    if (sealed.state === "missing") return { state: "none" };
    if (sealed.state === "damaged") {
      return { state: "unusable", fault: "is damaged", newer: false };
    }
    const manifest = parseManifest(sealed.value);
    if ("fault" in manifest) {
      return { state: "unusable", ...manifest };
    }
    const own = canonicalJson(manifest.parts);
    const isOfKey = canonical === undefined
      ? digest(own) === key
      : own === canonical;
    return manifest.key === key && isOfKey
      ? { state: "found", manifest }
      : { state: "unusable", fault: "belongs to another key", newer: false };
  }

  /** Records a result; its blobs must already be there. */
  write(manifest: Manifest): void {
    const path = this.path(manifest.key);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    writeSealed(path, manifest);
  }

  remove(key: string): void {
    removeIfThere(this.path(key));
  }

  /** All keys that have a manifest, usable or not. */
  keys(): string[] {
    const keys: string[] = [];
    for (const folder of list(this.folder)) {
      for (const file of list(join(this.folder, folder))) {
        const key = folder + file.replace(/\.json$/, "");
        if (isDigest(key)) keys.push(key);
      }
    }
    return keys.sort();
  }
}

function list(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return [];
    throw error;
  }
}
