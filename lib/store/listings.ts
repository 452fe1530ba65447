import type { Blobs } from "./blobs.ts";
import { digest } from "./digest.ts";

/**
 * Lists of the files of sources by their digest, which is what a key holds of a
 * source. Those that results were made from are kept, to tell later which file
 * has changed.
 */
export class Listings {
  readonly #blobs: Blobs;
  readonly #seen = new Map<string, string>();

  constructor(blobs: Blobs) {
    this.#blobs = blobs;
  }

  /** Notes a list, as `treeText()` writes it; returns its digest. */
  note(text: string): string {
    const listing = digest(text);
    this.#seen.set(listing, text);
    return listing;
  }

  /** Keeps a noted list in the cache, unless it is of one file: its name tells nothing more. */
  async keep(listing: string): Promise<void> {
    const text = this.#seen.get(listing);
    if (text !== undefined && filesIn(text).size > 1) {
      await this.#blobs.putBytes(text);
    }
  }

  /** Digests of the files of a list by their paths; undefined if it is not known. */
  files(listing: string): Map<string, string> | undefined {
    const text = this.#seen.get(listing) ?? this.#blobs.text(listing);
    return text === undefined ? undefined : filesIn(text);
  }
}

function filesIn(text: string): Map<string, string> {
  return new Map(JSON.parse(text) as [path: string, blob: string][]);
}
