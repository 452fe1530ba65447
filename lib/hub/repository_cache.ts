import { dirname, join } from "node:path";

/** A repository of the hub. */
export interface Repository {
  readonly type: "model" | "dataset";
  /** `FacebookAI/roberta-base` */
  readonly name: string;
}

/** Whether a revision is a commit hash. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * One repository in the cache that all of Hugging Face's tools share.
 *
 * - `refs/REVISION` contains the commit of a branch or tag
 * - `blobs/ETAG` has the content of a file
 * - `snapshots/COMMIT/PATH` is a file of a commit
 * - `.no_exist/COMMIT/PATH` marks a file that a commit does not have
 *
 * @see https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
export class RepositoryCache {
  readonly #folder: string;
  readonly #locks: string;

  constructor(cache: string, { type, name }: Repository) {
    const folder = `${type}s--${name.replaceAll("/", "--")}`;
    this.#folder = join(cache, folder);
    this.#locks = join(cache, ".locks", folder);
  }

  /** Commit of a revision when it was last fetched. */
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

  /** Records the commit of a revision. */
  async setCommit(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    const ref = this.#ref(revision);
    await Deno.mkdir(dirname(ref), { recursive: true });
    const partial = `${ref}.${crypto.randomUUID()}`;
    await Deno.writeTextFile(partial, commit);
    await Deno.rename(partial, ref);
  }

  /** Path of a commit's file; false if the commit does not have the file, undefined if that is unknown. */
  async find(
    commit: string,
    path: string,
  ): Promise<string | false | undefined> {
    const file = this.#snapshot(commit, path);
    if (await exists(file)) return file;
    if (await exists(this.#absence(commit, path))) return false;
    return undefined;
  }

  /** Records that a commit does not have a file. */
  async setAbsent(commit: string, path: string): Promise<void> {
    const note = this.#absence(commit, path);
    await Deno.mkdir(dirname(note), { recursive: true });
    await Deno.writeTextFile(note, "");
  }

  /** Path of a file of a commit. */
  #snapshot(commit: string, path: string): string {
    return join(this.#folder, "snapshots", commit, path);
  }

  /** Path of the content with this hash. */
  blob(etag: string): string {
    return join(this.#folder, "blobs", etag);
  }

  /** Whether the cache has the whole content with this hash. */
  async hasBlob(etag: string, size: number): Promise<boolean> {
    const blob = this.blob(etag);
    await Deno.mkdir(dirname(blob), { recursive: true });
    return await exists(blob) && (await Deno.stat(blob)).size === size;
  }

  /**
   * Links a content as a file of a commit.
   *
   * Other tools create symbolic links, which need more permissions than those
   * for this folder. They accept hard links as well.
   */
  async link(etag: string, commit: string, path: string): Promise<string> {
    const blob = this.blob(etag);
    const file = this.#snapshot(commit, path);
    await Deno.mkdir(dirname(file), { recursive: true });
    try {
      await Deno.link(blob, file);
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) return file;
      // The file system has no hard links.
      await Deno.copyFile(blob, file);
    }
    return file;
  }

  /** Locks content against other processes, including those of Hugging Face's tools. */
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
    return join(this.#folder, "refs", revision);
  }

  #absence(commit: string, path: string): string {
    return join(this.#folder, ".no_exist", commit, path);
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
