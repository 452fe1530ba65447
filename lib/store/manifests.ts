import { join } from "node:path";
import { canonicalJson, digest, isDigest } from "./digest.ts";
import { readSealed, removeIfThere, writeSealed } from "./files.ts";
import type { TreeFile } from "./blobs.ts";

/** Version of the manifests that this program writes. */
export const MANIFEST_VERSION = 2;

/** What a key holds of one artifact that a stage reads. */
export interface InputPart {
  /** Digest of the artifact's tree. */
  readonly content: string;
  /** Only of inputs that take many: what tells them apart. */
  readonly stage?: string;
  readonly matrix?: Readonly<Record<string, string | number>>;
  /** Only for tasks with `timings`. */
  readonly seconds?: number;
  readonly metrics?: Readonly<Record<string, number>>;
}

/** All that a stage's result depends on; the digest of its canonical JSON is the stage's key. */
export interface KeyParts {
  /** Digest of the listing of the task's code. */
  readonly code: string;
  /** Parameters, less those that name sources. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Digest of the content that each source parameter names. */
  readonly sources: Readonly<Record<string, string>>;
  readonly inputs: Readonly<Record<string, readonly InputPart[]>>;
  /** Identity of each runtime that the task needs. */
  readonly runtimes: Readonly<Record<string, string>>;
}

/** What is recorded of a stage's run that succeeded. */
export interface Manifest {
  readonly version: typeof MANIFEST_VERSION;
  readonly key: string;
  readonly parts: KeyParts;
  /** For people: what ran, when (ISO 8601) and on what; no part of the key. */
  readonly task: string;
  readonly pipeline: string;
  readonly stage: string;
  readonly started: string;
  readonly runtime: string;
  /** Wall-clock seconds of the run. */
  readonly seconds: number;
  /** Last value of each metric. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Digest of the artifact's tree. */
  readonly content: string;
  readonly files: readonly TreeFile[];
  /** The log, as JSON lines of events. */
  readonly log: { readonly blob: string; readonly size: number };
}

/** Why a manifest cannot be used, to follow "its result in the cache". */
interface Fault {
  readonly fault: string;
  /** True if it is in order, but for a later version of this program. */
  readonly newer: boolean;
}

/**
 * Checks what a manifest file holds. Its parts are not looked into: they are
 * right if and only if the key is their digest.
 */
export function parseManifest(
  value: Record<string, unknown>,
): Manifest | Fault {
  const { version } = value;
  if (typeof version === "number" && version > MANIFEST_VERSION) {
    return {
      fault: "was written by a newer version of this program",
      newer: true,
    };
  }
  if (typeof version === "number" && version < MANIFEST_VERSION) {
    return {
      fault: "was written by an older version of this program",
      newer: false,
    };
  }
  return isManifest(value) ? value : { fault: "is not in order", newer: false };
}

function isManifest(value: unknown): value is Manifest {
  if (!isRecord(value) || value.version !== MANIFEST_VERSION) return false;
  const { key, parts, task, pipeline, stage, started, runtime } = value;
  const { seconds, metrics, content, files, log } = value;
  return areDigests([key, content]) && isRecord(parts) &&
    [task, pipeline, stage, started, runtime].every(isText) &&
    isAmount(seconds) && isRecord(metrics) &&
    Object.values(metrics).every((metric) => typeof metric === "number") &&
    Array.isArray(files) && files.every(isFile) &&
    isRecord(log) && areDigests([log.blob]) && isAmount(log.size);
}

function isFile(value: unknown): value is TreeFile {
  return isRecord(value) && isText(value.path) && isBelow(value.path) &&
    isAmount(value.size) && areDigests([value.blob]);
}

/** True if the path cannot lead out of the folder that it is joined to. */
function isBelow(path: string): boolean {
  return path.split("/").every((part) =>
    part !== "" && part !== "." && part !== ".." && !part.includes("\\")
  );
}

function areDigests(values: readonly unknown[]): boolean {
  return values.every((value) => isText(value) && isDigest(value));
}

function isAmount(value: unknown): value is number {
  return typeof value === "number" && value >= 0;
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

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
