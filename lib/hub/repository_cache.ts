import { dirname, join } from "node:path";

/** A repository of the hub. */
export interface Repository {
  readonly type: "model" | "dataset";
  /** `FacebookAI/roberta-base` */
  readonly name: string;
}

/** True for a revision that names one commit for ever. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * The place of one repository in the cache that all tools of the hub share.
 *
 * - `refs/REVISION` holds the commit that a branch or a tag stood for
 * - `blobs/ETAG` holds the content of a file
 * - `snapshots/COMMIT/PATH` is the file as that commit has it
 * - `.no_exist/COMMIT/PATH` notes that a commit does not have the file
 */
export class RepositoryCache {
  readonly folder: string;
  readonly #locks: string;

  constructor(cache: string, { type, name }: Repository) {
    const folder = `${type}s--${name.replaceAll("/", "--")}`;
    this.folder = join(cache, folder);
    this.#locks = join(cache, ".locks", folder);
  }

  /** The commit that a revision stood for when it was last fetched. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    try {
      const commit = await Deno.readTextFile(this.#ref(revision));
      return isCommit(commit.trim()) ? commit.trim() : undefined;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  /** Notes which commit a revision stands for. */
  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const ref = this.#ref(revision);
    await Deno.mkdir(dirname(ref), { recursive: true });
    const partial = `${ref}.${crypto.randomUUID()}`;
    await Deno.writeTextFile(partial, commit);
    await Deno.rename(partial, ref);
  }

  /** Whether a commit has a file: its path in the cache, false if it has not, nothing if the cache does not know. */
  async find(
    commit: string,
    path: string,
  ): Promise<string | false | undefined> {
    const file = this.snapshot(commit, path);
    if (await exists(file)) return file;
    if (await exists(this.#absence(commit, path))) return false;
    return undefined;
  }

  /** Notes that a commit does not have a file. */
  async setAbsent(commit: string, path: string): Promise<void> {
    const note = this.#absence(commit, path);
    await Deno.mkdir(dirname(note), { recursive: true });
    await Deno.writeTextFile(note, "");
  }

  /** Path of a file as a commit has it. */
  snapshot(commit: string, path: string): string {
    return join(this.folder, "snapshots", commit, path);
  }

  /** Path of a content. */
  blob(etag: string): string {
    return join(this.folder, "blobs", etag);
  }

  /** True if the cache holds a content whole. */
  async hasBlob(etag: string, size: number): Promise<boolean> {
    const blob = this.blob(etag);
    await Deno.mkdir(dirname(blob), { recursive: true });
    return await exists(blob) && (await Deno.stat(blob)).size === size;
  }

  /**
   * Shows a content as a file of a commit.
   *
   * Other tools make a symbolic link; a process with permissions for this
   * folder alone may not, and a hard link serves them as well.
   */
  async link(etag: string, commit: string, path: string): Promise<string> {
    const blob = this.blob(etag);
    const file = this.snapshot(commit, path);
    await Deno.mkdir(dirname(file), { recursive: true });
    try {
      await Deno.link(blob, file);
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) return file;
      // File systems without links hold the content twice.
      await Deno.copyFile(blob, file);
    }
    return file;
  }

  /** Waits until no other process, ours or another tool's, fetches this content. */
  async lock(etag: string): Promise<Disposable> {
    await Deno.mkdir(this.#locks, { recursive: true });
    const file = await Deno.open(join(this.#locks, `${etag}.lock`), {
      create: true,
      write: true,
    });
    try {
      await file.lock(true);
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  }

  #ref(revision: string): string {
    return join(this.folder, "refs", revision);
  }

  #absence(commit: string, path: string): string {
    return join(this.folder, ".no_exist", commit, path);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Deno.errors.NotADirectory;
}
