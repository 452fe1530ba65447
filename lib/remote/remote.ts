import { removeIfThere, temporaryPath } from "../files/files.ts";
import type { Manifest } from "../store/manifests.ts";
import { isManifest } from "../store/manifest_schema.ts";
import { limited, type TreeFile } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import {
  openSigned,
  sign,
  type SignedResult,
  type SigningKey,
} from "./signature.ts";
import {
  type Chunks,
  type Entry,
  RemoteFault,
  type Stored,
  textOf,
  type Transport,
} from "./transport.ts";

/** Trusted keys, signing key and messages of a remote. */
export interface RemoteOptions {
  /** Public keys whose results are used. */
  readonly trusted: readonly string[];
  /** Signs new results; undefined if none are stored. */
  readonly key?: SigningKey | undefined;
  /** Called with a sentence for the user. */
  readonly say: (sentence: string) => void;
  /**
   * Whether the message of a failure says that the run continues without it.
   */
  readonly continueOnFailure?: boolean;
}

/** Transfer statistics. */
export type TransferStats = Readonly<Remote["stats"]>;

/** A result that the remote has, and its download, once that has begun. */
type RemoteResult = SignedResult & { fetched?: Promise<boolean> };

/**
 * Results that caches share: blobs and signed manifests in a remote.
 *
 *     blobs/ab/cdef...[.gz]                     content, by its SHA-256
 *     manifests/KEY/SIGNER.json                 the result of a key, as a
 * signer vouches for it
 *
 * The first fault of the remote turns it off: the run goes on with the own
 * cache.
 */
export class Remote {
  readonly #limited = limited();
  /** Results by key: undefined where there is none that can be used. */
  readonly #results = new Map<string, Promise<RemoteResult | undefined>>();
  readonly #offers: Promise<unknown>[] = [];
  readonly #sent = new Map<string, Promise<boolean>>();
  /** Blobs and keys that the remote has, but damaged. */
  readonly #damaged = new Set<string>();
  #isOff = false;
  #hasRefused = false;
  /** Numbers of results and, as stored in the remote, of bytes. */
  readonly stats = {
    /** Results that the cache lacked and the remote was asked for. */
    asked: 0,
    fetched: 0,
    fetchedBytes: 0,
    /** Results that were to be stored. */
    offered: 0,
    stored: 0,
    storedBytes: 0,
  };

  constructor(
    private readonly transport: Transport,
    private readonly store: Store,
    private readonly options: RemoteOptions,
  ) {}

  get name(): string {
    return this.transport.name;
  }

  /**
   * The result of a key by a trusted signer, whose files need not be in the
   * cache yet.
   */
  async find(key: string) {
    const result = await this.#results.getOrInsertComputed(key, () => {
      this.stats.asked++;
      return this.#find(key);
    });
    if (result === undefined) return undefined;
    const { manifest } = result;
    return {
      manifest,
      from: this.name,
      /**
       * Downloads it into the cache, its files first. False if that fails; then
       * there is no such result any more.
       */
      fetch: async (): Promise<boolean> => {
        result.fetched ??= this.#fetch(result);
        const isThere = await result.fetched;
        if (!isThere) this.#results.set(key, Promise.resolve(undefined));
        return isThere;
      },
      /**
       * Downloads some of its files, but not the result. False if that fails.
       */
      fetchFiles: (files: readonly TreeFile[]): Promise<boolean> =>
        this.#receiveAll({ ...result, manifest: { ...manifest, files } }),
    };
  }

  /** Stores a result of the cache in the remote, in the background. */
  offer(manifest: Manifest): void {
    const { key } = this.options;
    if (key === undefined) return;
    this.stats.offered++;
    const sent = this.#unlessOff(() => this.#push(manifest, key));
    this.#offers.push(sent);
    // A failure has been said; an interruption is none.
    sent.catch(() => {});
  }

  /** Waits for what was offered. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#offers);
  }

  /** Stores a result in the remote: its blobs, then its manifest. */
  async #push(manifest: Manifest, key: SigningKey): Promise<void> {
    const gzip: string[] = [];
    const sends = [...blobsOf(manifest)].map(async ([blob, size]) => {
      const sent = this.#sent.getOrInsertComputed(
        blob,
        () => this.#limited(() => this.#send(blob, size)),
      );
      if (await sent) gzip.push(blob);
    });
    // No transfer goes on after a fault of another has been said.
    await Promise.allSettled(sends);
    await Promise.all(sends);
    await this.#vouch({ manifest, gzip: gzip.sort() }, key);
  }

  /**
   * Lists the results in the remote, as one signer each vouches for them.
   *
   * @throws {RemoteFault} If it cannot be listed.
   */
  async list() {
    const results = await this.#each("manifests", async ({ path }) => {
      const [, key, signer] = RESULT.exec(path) ?? [];
      if (key === undefined || signer === undefined) return [];
      const text = await this.transport.get(path, textOf);
      if (text === undefined) return [];
      const opened = await openSigned(text, signer, key);
      if ("fault" in opened) return [];
      const isTrusted = this.options.trusted.includes(signer);
      return [{ manifest: opened.manifest, signer, isTrusted }];
    });
    return results.flat();
  }

  /**
   * Removes results that ran before a time, whoever signed them, and then the
   * blobs that no other result has.
   *
   * @param before In milliseconds since 1970.
   * @returns Number of results and of blobs removed.
   * @throws {RemoteFault} If the remote fails.
   */
  async removeBefore(before: number) {
    const kept = new Set<string>();
    const dropped = new Set<string>();
    const results = new Set<string>();
    const check = async ({ path }: Entry) => {
      const text = await this.transport.get(path, textOf) ?? "{}";
      const manifest = manifestIn(text);
      const isOld = !(Date.parse(manifest?.started ?? "") >= before);
      for (const blob of manifest ? blobsOf(manifest).keys() : []) {
        (isOld ? dropped : kept).add(blob);
      }
      if (!isOld) return;
      // Before its blobs: a result without them is none.
      await this.transport.remove(path);
      if (manifest) results.add(manifest.key);
    };
    await this.#each("manifests", check);
    let blobs = 0;
    await this.#each("blobs", async ({ path, written = Infinity }) => {
      const blob = path.replace(/^blobs\/|\.gz$/g, "").replace("/", "");
      // Others may be those of a result that is just being stored.
      if (kept.has(blob) || !dropped.has(blob) && written >= before) return;
      await this.transport.remove(path);
      blobs++;
    });
    return { results: results.size, blobs };
  }

  /** Calls `work` for each file of a folder, several at a time. */
  async #each<T>(folder: string, work: (entry: Entry) => Promise<T>) {
    const entries = await Array.fromAsync(this.transport.list(folder));
    return await Promise.all(
      entries.map((it) => this.#limited(() => work(it))),
    );
  }

  async #find(key: string): Promise<RemoteResult | undefined> {
    const results = await Promise.all(
      this.options.trusted.map((signer) =>
        this.#unlessOff(() => this.#limited(() => this.#read(key, signer)))
      ),
    );
    return results.find((it) => it !== undefined);
  }

  async #read(key: string, signer: string) {
    const path = pathOf(key, signer);
    const text = await this.transport.get(path, textOf);
    if (text === undefined) return undefined;
    const opened = await openSigned(text, signer, key);
    if (!("fault" in opened)) return opened;
    this.#damaged.add(key);
    this.#refuse(`"${path}" ${opened.fault}`);
    return undefined;
  }

  async #fetch(result: SignedResult): Promise<boolean> {
    if (!await this.#receiveAll(result)) return false;
    this.store.manifests.write(result.manifest);
    this.stats.fetched++;
    return true;
  }

  async #receiveAll({ manifest, gzip }: SignedResult): Promise<boolean> {
    const received = await Promise.all(
      [...blobsOf(manifest)].map(async ([blob, size]) =>
        await this.#isInCache(blob, size) ||
        await this.#unlessOff(() =>
          this.#limited(() => this.#receive(blob, size, gzip.includes(blob)))
        )
      ),
    );
    if (received.every((it) => it === true)) return true;
    this.#damaged.add(manifest.key);
    return false;
  }

  /** Whether the cache has a blob, and of the size that a result says. */
  async #isInCache(blob: string, size: number): Promise<boolean> {
    const { blobs } = this.store;
    return await blobs.holds(blob) &&
      Deno.statSync(blobs.path(blob)).size === size;
  }

  /**
   * Downloads a blob into the cache; false if the remote lacks it or has other
   * content.
   */
  async #receive(blob: string, size: number, isGzip: boolean) {
    const path = blobPath(blob, isGzip);
    const read = async (content: Chunks) => {
      const counted = this.#counted(content, size + (size >> 6) + 1024);
      const plain = isGzip
        ? ReadableStream.from(counted)
          .pipeThrough(new DecompressionStream("gzip"))
        : counted;
      // A TypeError: what should be compressed is not.
      return await this.store.blobs.receive(blob, size, plain)
        .catch((error) => {
          if (error instanceof TypeError) return false;
          throw error;
        });
    };
    const isRight = await this.transport.get(path, read);
    if (isRight) return true;
    this.#refuse(
      isRight === undefined
        ? `"${path}" is missing`
        : `"${path}" has other content than its digest and size say`,
    );
    this.#damaged.add(blob);
    return false;
  }

  /** @param limit Bytes after which a content is not what it should be. */
  async *#counted(content: Chunks, limit: number): Chunks {
    let size = 0;
    for await (const piece of content) {
      size += piece.length;
      this.stats.fetchedBytes += piece.length;
      if (size > limit) throw new TypeError("Too long");
      yield piece;
    }
  }

  /** Stores a blob, if it is not there; true if it is compressed. */
  async #send(blob: string, size: number): Promise<boolean> {
    const file = this.store.blobs.path(blob);
    const isGzip = await shrinks(file);
    const path = blobPath(blob, isGzip);
    const isThere = !this.#damaged.has(blob) &&
      await this.transport.has(path);
    if (isThere) return isGzip;
    if (!await this.store.blobs.holds(blob)) {
      throw new Error(`The cache has lost "${blob}"`);
    }
    if (!isGzip) await this.#put(path, { file, size });
    else {
      const copy = temporaryPath(this.store.path("upload"));
      try {
        using from = await Deno.open(file);
        const packed = from.readable
          .pipeThrough(new CompressionStream("gzip"));
        await Deno.writeFile(copy, packed, { createNew: true });
        await this.#put(path, { file: copy, size: Deno.statSync(copy).size });
      } finally {
        removeIfThere(copy);
      }
    }
    return isGzip;
  }

  async #put(path: string, content: Stored): Promise<void> {
    await this.transport.put(path, content);
    this.stats.storedBytes += content instanceof Uint8Array
      ? content.length
      : content.size;
  }

  /**
   * Stores a signed manifest, unless the remote has one of this key and signer.
   */
  async #vouch(result: SignedResult, key: SigningKey): Promise<void> {
    const { signer } = key;
    const { manifest } = result;
    const isDamaged = this.#damaged.has(manifest.key);
    if (!isDamaged && await this.#read(manifest.key, signer)) {
      return;
    }
    const text = new TextEncoder().encode(await sign(result, key));
    await this.#put(pathOf(manifest.key, signer), text);
    this.stats.stored++;
  }

  /**
   * Does work with the remote, unless it has failed. Undefined if it has, now
   * or before.
   */
  async #unlessOff<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (this.#isOff) return undefined;
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof RemoteFault)) throw error;
      if (!this.#isOff) {
        const { say, continueOnFailure } = this.options;
        const after = continueOnFailure ? "; this run goes on without it" : "";
        say(`The remote ${this.name} ${error.message}${after}`);
      }
      this.#isOff = true;
      return undefined;
    }
  }

  #refuse(reason: string): void {
    if (this.#hasRefused) return;
    this.#hasRefused = true;
    this.options.say(
      `Refused a result of the remote ${this.name}: ${reason}; its stage runs locally`,
    );
  }
}

/**
 * The blobs of a result that travel, with their sizes: its files and its log.
 */
function blobsOf({ files, log }: Manifest): Map<string, number> {
  return new Map([...files, log].map(({ blob, size }) => [blob, size]));
}

/**
 * The manifest of a signed result of any signer and version; undefined if it is
 * damaged.
 */
function manifestIn(text: string): Manifest | undefined {
  try {
    const { manifest } = JSON.parse(text) as Partial<SignedResult>;
    return isManifest(manifest) ? manifest : undefined;
  } catch {
    return undefined;
  }
}

/** Matches the path of a result, with its key and its signer. */
const RESULT = /^manifests\/([0-9a-f]{64})\/([0-9a-f]{64})\.json$/;

/** The path of a result in a remote. */
function pathOf(key: string, signer: string): string {
  return `manifests/${key}/${signer}.json`;
}

/** The path of a blob in a remote. */
function blobPath(blob: string, isGzip: boolean): string {
  return `blobs/${blob.slice(0, 2)}/${blob.slice(2)}${isGzip ? ".gz" : ""}`;
}

/** Bytes of a file by which its compression is tried. */
const SAMPLE = 1 << 20;

/** Whether compression makes the start of a file smaller by a tenth. */
async function shrinks(path: string): Promise<boolean> {
  using file = await Deno.open(path);
  const buffer = new Uint8Array(SAMPLE);
  const sample = buffer.subarray(0, await file.read(buffer) ?? 0);
  const packed = new Blob([sample]).stream()
    .pipeThrough(new CompressionStream("gzip"));
  return (await new Response(packed).bytes()).length < 0.9 * sample.length;
}
