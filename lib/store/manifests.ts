import { join } from "../files/paths.ts";
import { isDigest } from "../files/digest.ts";
import {
  entriesBelow,
  readIfThere,
  removeIfThere,
  unseal,
  writeSealed,
} from "../files/files.ts";

/** Version of the manifest format that this program writes. */
export const MANIFEST_VERSION = 2;

/** Part of a key: one artifact that a stage reads. */
export interface InputPart {
  /** Digest of the artifact's tree. */
  readonly content: string;
  /** Only for inputs that take many artifacts: identifies this one. */
  readonly stage?: string;
  readonly matrix?: Readonly<Record<string, string | number>>;
  /** Only for tasks with `timings`. */
  readonly seconds?: number;
  readonly metrics?: Readonly<Record<string, number>>;
  readonly machine?: string;
}

/**
 * Everything that a stage's result depends on. The SHA-256 of its canonical
 * JSON is the stage's key.
 */
export interface KeyParts {
  /** Blob of the bundle of the task. */
  readonly code: string;
  /** Parameters, except those that name sources. */
  readonly params: Readonly<Record<string, unknown>>;
  /** Digest of the files that each source parameter names. */
  readonly sources: Readonly<Record<string, string>>;
  readonly inputs: Readonly<Record<string, readonly InputPart[]>>;
  /** Identity of each runtime that the task needs. */
  readonly runtimes: Readonly<Record<string, string>>;
}

/**
 * Parameters by dot path: those of nested mappings one by one, lists as a
 * whole.
 */
export function byDotPath(
  params: Readonly<Record<string, unknown>>,
): [path: string, value: unknown][] {
  return Object.entries(params).flatMap(([name, value]) => {
    const isMapping = typeof value === "object" && value !== null &&
      !Array.isArray(value);
    if (!isMapping) return [[name, value]];
    return byDotPath(value as Readonly<Record<string, unknown>>)
      .map(([path, inner]): [string, unknown] => [`${name}.${path}`, inner]);
  });
}

/**
 * Record of a successful run of a stage: the file `manifests/ab/cdef....json`.
 */
export interface Manifest extends ManifestBody {
  readonly version: typeof MANIFEST_VERSION;
  /** What the key is the digest of. */
  readonly parts: KeyParts;
}

/** The part of a manifest that all versions of the format have in common. */
export interface ManifestBody {
  /** Key of the stage: SHA-256, in hexadecimal digits. */
  readonly key: string;
  /** Name of the task. Neither it nor the next three are part of the key. */
  readonly task: string;
  readonly pipeline: string;
  /** Id of the stage. */
  readonly stage: string;
  /** Version of Deno, and what ran on it. */
  readonly runtime: string;
  /**
   * What computed it, on which its seconds depend; absent if it needed no
   * runtime that says so.
   */
  readonly machine?: string;
  /** When the run started, as `toISOString()` writes it. */
  readonly started: string;
  /**
   * Wall-clock seconds, to the millisecond, with those of the attempts that it
   * resumed.
   */
  readonly seconds: number;
  /** Last value of each metric. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Digest of the artifact's tree. */
  readonly content: string;
  /** Files of the artifact. */
  readonly files: readonly ArtifactFile[];
  /** The log: JSON lines of events. */
  readonly log: { readonly blob: string; readonly size: number };
}

/** A file of an artifact. */
export interface ArtifactFile {
  /** Relative to the artifact's folder, with forward slashes. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of its content. */
  readonly blob: string;
}

/** Measurements of a successful run of a stage. */
export type Measured = Pick<Manifest, "started" | "seconds" | "metrics">;

/** Result of looking up a manifest. */
export type Lookup =
  | { readonly state: "found"; readonly manifest: Manifest }
  | { readonly state: "none" }
  /** There is a manifest, but it cannot be used: it `is damaged`. */
  | { readonly state: "unusable"; readonly fault: string };

/** Manifests by key: `manifests/ab/cdef....json`. */
export class Manifests {
  constructor(readonly folder: string) {}

  path(key: string): string {
    return `${this.folder}/${key.slice(0, 2)}/${key.slice(2)}.json`;
  }

  /** Reads the manifest of a key. */
  read(key: string): Lookup {
    const text = readIfThere(this.path(key));
    if (text === undefined) return { state: "none" };
    const manifest = unseal<Manifest>(text);
    const unusable = (fault: string) => ({ state: "unusable", fault }) as const;
    if (manifest === undefined) return unusable("is damaged");
    if (manifest.version !== MANIFEST_VERSION) {
      return unusable("was written by another version of this program");
    }
    if (manifest.key !== key) return unusable("belongs to another key");
    return { state: "found", manifest };
  }

  /** The manifest of a key, if there is one and it is usable. */
  find(key: string): Manifest | undefined {
    const lookup = this.read(key);
    return lookup.state === "found" ? lookup.manifest : undefined;
  }

  /** Writes a manifest. Its blobs must already be stored. */
  write(manifest: Manifest): void {
    const path = this.path(manifest.key);
    Deno.mkdirSync(join(path, ".."), { recursive: true });
    writeSealed(path, manifest);
  }

  remove(key: string): void {
    removeIfThere(this.path(key));
  }

  /** Keys of all manifests, usable or not. */
  keys(): string[] {
    return entriesBelow(this.folder)
      .map(({ path }) => path.slice(this.folder.length, -".json".length))
      .map((path) => path.replaceAll("/", ""))
      .filter(isDigest).toArray().sort();
  }

  /** All usable manifests. */
  all(): Manifest[] {
    return this.keys().flatMap((key) => this.find(key) ?? []);
  }
}
