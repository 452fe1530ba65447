import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { linkOrCopy, readIfThere, writeDurably } from "../files/files.ts";

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
 * - `.verified/COMMIT/PATH`, which only this program writes, has the hash of a
 *   file
 * - `.listing/COMMIT`, which only this program writes, has the paths of all
 *   files of a commit as JSON
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
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) return revision;
    const commit = readIfThere(this.#path("refs", revision))?.trim() ?? "";
    return isCommit(commit) ? commit : undefined;
  }

  /** Records the commit of a revision. */
  setCommit(revision: string, commit: string): void {
    if (isCommit(revision)) return;
    this.#write(this.#path("refs", revision), commit);
  }

  /** Paths of all files of a commit; undefined if they are unknown. */
  listing(commit: string): readonly string[] | undefined {
    const text = readIfThere(this.#path(".listing", commit));
    return text === undefined ? undefined : JSON.parse(text);
  }

  /** Records the paths of all files of a commit. */
  setListing(commit: string, paths: readonly string[]): void {
    this.#write(this.#path(".listing", commit), JSON.stringify(paths));
  }

  /**
   * Path of a commit's file; false if the commit does not have the file,
   * undefined if that is unknown.
   */
  find(commit: string, path: string): string | false | undefined {
    const file = this.#path("snapshots", commit, path);
    if (existsSync(file)) return file;
    if (existsSync(this.#path(".no_exist", commit, path))) return false;
    return undefined;
  }

  /** Records that a commit does not have a file. */
  setAbsent(commit: string, path: string): void {
    this.#write(this.#path(".no_exist", commit, path), "");
  }

  /**
   * Compares a file of a commit with the hash that the cache has for it: the
   * name of the blob that it links to, or the hash that {@linkcode link}
   * recorded.
   */
  async check(
    commit: string,
    path: string,
  ): Promise<"right" | "wrong" | "unknown"> {
    const file = this.#path("snapshots", commit, path);
    const recorded = readIfThere(this.#path(".verified", commit, path));
    // Earlier versions wrote more behind the hash.
    const hash = recorded?.split(" ")[0] ?? basename(await Deno.realPath(file));
    // SHA-256, or SHA-1 of a git blob.
    if (!/^([0-9a-f]{64}|[0-9a-f]{40})$/.test(hash)) return "unknown";
    return await hasContent(file, hash) ? "right" : "wrong";
  }

  /**
   * Makes content available as a file of a commit: that file itself, or the
   * blob, if it has the hash.
   *
   * Other tools create symbolic links to blobs, for which the permissions for
   * this folder do not suffice. They accept hard links as well.
   *
   * @param fetch Writes the content to a path if the cache does not have it.
   * @returns Path of the file.
   */
  async link(
    hash: string,
    commit: string,
    path: string,
    fetch: (blob: string) => Promise<void>,
  ): Promise<string> {
    const blob = this.#path("blobs", hash);
    const file = this.#path("snapshots", commit, path);
    await Deno.mkdir(dirname(blob), { recursive: true });
    await Deno.mkdir(dirname(file), { recursive: true });
    const isRight = async (it: string) =>
      existsSync(it) && await hasContent(it, hash);
    if (!await isRight(file)) {
      if (!await isRight(blob)) await fetch(blob);
      const partial = `${file}.${crypto.randomUUID()}`;
      await linkOrCopy(blob, partial);
      await Deno.rename(partial, file);
    }
    this.#write(this.#path(".verified", commit, path), hash);
    return file;
  }

  /** Replaces a small file. */
  #write(path: string, text: string): void {
    Deno.mkdirSync(dirname(path), { recursive: true });
    writeDurably(path, text);
  }

  /**
   * Locks content against other processes, including those of Hugging Face's
   * tools.
   */
  async lock(etag: string): Promise<Disposable> {
    await Deno.mkdir(this.#locks, { recursive: true });
    const path = join(this.#locks, `${etag}.lock`);
    const file = await Deno.open(path, { create: true, write: true });
    // Not by lockFile(), which needs more rights than a stage has to a cache
    // that is a link.
    await file.lock(true);
    return file;
  }

  #path(...parts: string[]): string {
    return join(this.#folder, ...parts);
  }
}

/**
 * Whether a file has the content of a hash.
 *
 * @param hash SHA-256 (64 hexadecimal digits), or SHA-1 of a git blob (40)
 */
export async function hasContent(path: string, hash: string): Promise<boolean> {
  using file = await Deno.open(path);
  const { size } = await Deno.stat(path);
  const actual = hash.length === 64
    ? createHash("sha256")
    : createHash("sha1").update(`blob ${size}\0`);
  for await (const chunk of file.readable) actual.update(chunk);
  return actual.digest("hex") === hash;
}
