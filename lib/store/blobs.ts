import { dirname, join } from "node:path";
import { digest, digestFile } from "./digest.ts";
import { besides, removeIfThere, syncFolder } from "./durable.ts";
import type { Stats } from "./stats.ts";

/** Contents by their SHA-256: `blobs/ab/cdef...`, read-only, never changed once written. */
export class Blobs {
  readonly folder: string;
  readonly #stats: Stats;

  constructor(folder: string, stats: Stats) {
    this.folder = folder;
    this.#stats = stats;
  }

  /** Where the blob lies, or would lie. */
  path(blob: string): string {
    return `${this.folder}/${blob.slice(0, 2)}/${blob.slice(2)}`;
  }

  /** True if the blob is there and its content is still its own. */
  async holds(blob: string): Promise<boolean> {
    return await this.#stats.digest(this.path(blob), true) === blob;
  }

  /** Takes in a copy of the file: the digest is that of the bytes stored. */
  async put(path: string): Promise<{ blob: string; size: number }> {
    return await this.#take((copy) => digestFile(path, copy));
  }

  /** Takes in bytes, or text as UTF-8. */
  async putBytes(
    content: string | Uint8Array,
  ): Promise<{ blob: string; size: number }> {
    const bytes = typeof content === "string"
      ? new TextEncoder().encode(content)
      : content;
    const stored = { blob: digest(bytes), size: bytes.length };
    if (await this.holds(stored.blob)) return stored;
    return await this.#take(async (copy) => {
      for (let done = 0; done < bytes.length;) {
        done += await copy.write(bytes.subarray(done));
      }
      return stored;
    });
  }

  /** The text of a blob; undefined if it is missing or damaged. */
  text(blob: string): string | undefined {
    let bytes: Uint8Array;
    try {
      bytes = Deno.readFileSync(this.path(blob));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    return digest(bytes) === blob ? new TextDecoder().decode(bytes) : undefined;
  }

  /**
   * Copies a blob to a new file and makes sure that the copy is right.
   *
   * @throws {DamagedBlobError} If the blob's content is not its own; the blob is then removed.
   */
  async copyTo(blob: string, path: string): Promise<void> {
    await this.#verified(blob, async () => {
      Deno.mkdirSync(dirname(path), { recursive: true });
      await Deno.copyFile(this.path(blob), path);
      await Deno.chmod(path, 0o644);
      return (await digestFile(path)).blob;
    });
  }

  /**
   * Shows a blob at another path without copying it, where the file system
   * can, after reading it in full to make sure that its content is right.
   *
   * @throws {DamagedBlobError} If it is not; the blob is then removed.
   */
  async linkTo(blob: string, path: string): Promise<void> {
    await this.#verified(blob, async () => {
      Deno.mkdirSync(dirname(path), { recursive: true });
      try {
        await Deno.link(this.path(blob), path);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) throw error;
        await Deno.copyFile(this.path(blob), path);
      }
      return (await digestFile(path)).blob;
    });
  }

  /** Removes a blob. */
  remove(blob: string): void {
    removeIfThere(this.path(blob));
  }

  async #verified(
    blob: string,
    found: () => Promise<string | undefined>,
  ): Promise<void> {
    let actual: string | undefined;
    try {
      actual = await found();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    if (actual === blob) return;
    this.remove(blob);
    throw new DamagedBlobError(blob);
  }

  /** Has a new file written, and gives it its name when it is on the disk. */
  async #take<Stored extends { readonly blob: string; readonly size: number }>(
    write: (copy: Deno.FsFile) => Promise<Stored>,
  ): Promise<Stored> {
    Deno.mkdirSync(this.folder, { recursive: true });
    const temporary = besides(join(this.folder, "new"));
    try {
      let stored: Stored;
      {
        const options = { write: true, createNew: true };
        using copy = await Deno.open(temporary, options);
        stored = await write(copy);
        await copy.sync();
      }
      if (await this.holds(stored.blob)) {
        Deno.removeSync(temporary);
        return stored;
      }
      const path = this.path(stored.blob);
      Deno.mkdirSync(dirname(path), { recursive: true });
      Deno.chmodSync(temporary, 0o444);
      Deno.renameSync(temporary, path);
      syncFolder(dirname(path));
      return stored;
    } catch (error) {
      removeIfThere(temporary);
      throw error;
    }
  }
}

/** The cache's copy of a content was missing or no longer the content. */
export class DamagedBlobError extends Error {
  override readonly name = "DamagedBlobError";
  readonly blob: string;

  constructor(blob: string) {
    super(`Cached content "${blob.slice(0, 12)}" was missing or damaged`);
    this.blob = blob;
  }
}
