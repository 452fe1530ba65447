/** The files of a remote: in a folder, or behind HTTP. */
import { listFiles } from "../store/blobs.ts";
import { removeIfThere, statIfThere, temporaryPath } from "../files/files.ts";
import { dirname, join } from "../files/paths.ts";

/** Bytes as they come. */
export type Chunks = AsyncIterable<Uint8Array<ArrayBuffer>>;

/** Bytes, or a file of `size` bytes, to store in a remote. */
export type Stored = Uint8Array<ArrayBuffer> | {
  readonly file: string;
  readonly size: number;
};

/** A file in a remote. */
export interface Entry {
  readonly path: string;
  /** When it was written, in milliseconds since 1970, if the remote says so. */
  readonly written?: number | undefined;
}

/**
 * Files of a remote, by paths such as `blobs/ab/cdef`. What is stored appears
 * as a whole or not at all.
 *
 * All methods throw a {@linkcode RemoteFault} if the remote fails.
 */
export interface Transport {
  /** Its address without secrets. */
  readonly name: string;
  /**
   * Gives the content of a file to `read`; undefined if there is no such file.
   */
  get<T>(
    path: string,
    read: (content: Chunks) => Promise<T>,
  ): Promise<T | undefined>;
  has(path: string): Promise<boolean>;
  put(path: string, content: Stored): Promise<void>;
  /** All files below a folder. */
  list(folder: string): AsyncGenerator<Entry>;
  /** Removes a file, if it exists. */
  remove(path: string): Promise<void>;
}

/**
 * Thrown when a remote fails. The message is the predicate of a sentence whose
 * subject is the remote.
 */
export class RemoteFault extends Error {
  override readonly name = "RemoteFault";
}

/** A folder that machines share. */
export class FolderTransport implements Transport {
  #root: Promise<string> | undefined;

  /**
   * @param mustExist Whether it is a fault that there is no such folder.
   * @param find Finds the path of the folder; called once, when it is needed.
   */
  constructor(
    readonly name: string,
    private readonly mustExist: boolean,
    private readonly find: () => Promise<string>,
  ) {}

  async get<T>(path: string, read: (content: Chunks) => Promise<T>) {
    const file = await this.#at(path, async (target, root) => {
      const info = statIfThere(target);
      if (info?.isFile) return await Deno.open(target);
      // A pipe would be waited for.
      if (info) throw new RemoteFault(`has "${path}", which is not a file`);
      if (!this.mustExist || statIfThere(root)) return undefined;
      throw new RemoteFault("does not exist");
    });
    // Faults of the reader are not those of the remote.
    return file && await read(piecesOf(file));
  }

  has(path: string) {
    return this.#at(path, (target) => statIfThere(target)?.isFile === true);
  }

  async put(path: string, content: Stored) {
    if (!(content instanceof Uint8Array)) {
      // That it cannot be read is not a fault of the remote.
      (await Deno.open(content.file)).close();
    }
    await this.#at(path, async (target) => {
      Deno.mkdirSync(dirname(target), { recursive: true });
      const temporary = temporaryPath(target);
      try {
        if (content instanceof Uint8Array) {
          await Deno.writeFile(temporary, content);
        } else await Deno.copyFile(content.file, temporary);
        Deno.chmodSync(temporary, 0o666 & ~Deno.umask());
        Deno.renameSync(temporary, target);
      } finally {
        removeIfThere(temporary);
      }
    });
  }

  async *list(folder: string): AsyncGenerator<Entry> {
    yield* await this.#at(folder, (target) => {
      const names = statIfThere(target) ? listFiles(target, "follow") : [];
      return names.map((name) => ({
        path: join(folder, name),
        written: statIfThere(join(target, name))?.mtime?.getTime(),
      }));
    });
  }

  remove(path: string) {
    return this.#at(path, removeIfThere);
  }

  /** @throws {RemoteFault} If the folder cannot be used. */
  async #at<T>(
    path: string,
    work: (target: string, root: string) => T | Promise<T>,
  ): Promise<T> {
    this.#root ??= this.find();
    const root = await this.#root;
    try {
      return await work(join(root, path), root);
    } catch (error) {
      if (error instanceof RemoteFault) throw error;
      throw new RemoteFault(`cannot be used: ${(error as Error).message}`);
    }
  }
}

/** The content of a file of a folder, whose errors are those of the remote. */
async function* piecesOf({ readable }: Deno.FsFile): Chunks {
  try {
    yield* readable;
  } catch (error) {
    throw new RemoteFault(`cannot be read: ${(error as Error).message}`);
  }
}

/** How requests are made. */
export interface HttpOptions {
  /** Headers that give access, for a method and a URL. */
  authorize(method: string, url: string): HeadersInit | Promise<HeadersInit>;
  /** Milliseconds in which a transfer must make progress. */
  readonly stallTimeout: number;
  /**
   * Bytes above which a file is sent as a stream, so without its length, and
   * not as a whole.
   */
  readonly streamed: number;
  /** Ends all transfers. */
  readonly signal: AbortSignal;
}

/** Bytes per second below which a transfer counts as stalled. */
const SLOWEST = 20_000;

/** Status codes that a second try may change. */
const AGAIN = [429, 500, 502, 503, 504];

/** Milliseconds before the second try. */
const PAUSE = 300;

/**
 * Files behind HTTP, by plain GET, HEAD, PUT and DELETE. A query in the URL, as
 * signed URLs have one, is part of every request.
 */
export class HttpTransport implements Transport {
  /** @param base Its URL, without user and password. */
  constructor(
    private readonly base: URL,
    readonly name: string,
    private readonly options: HttpOptions,
  ) {}

  async get<T>(path: string, read: (content: Chunks) => Promise<T>) {
    return await this.request(this.urlOf(path), "GET", read);
  }

  async has(path: string) {
    return await this.request(this.urlOf(path), "HEAD", () => true) === true;
  }

  async put(path: string, content: Stored) {
    const url = this.urlOf(path);
    if (await this.request(url, "PUT", () => true, content)) return;
    throw new RemoteFault("answers 404 to PUT");
  }

  /** By the pages that list the files of a folder, as web servers make them. */
  async *list(folder: string): AsyncGenerator<Entry> {
    const url = this.urlOf(`${folder.replace(/\/$/, "")}/`);
    const page = await this.request(url, "GET", textOf) ?? "";
    const names = [...page.matchAll(/<a\s[^>]*?href="([^"?#]+)"/gi)]
      .map(([, href]) => new URL(href!, url))
      .filter(({ href }) => href.startsWith(url.origin + url.pathname))
      .map(({ pathname }) => pathname.slice(url.pathname.length))
      .filter((name) => /^[\w.-]+\/?$/.test(name));
    for (const name of new Set(names)) {
      const path = join(folder, name);
      if (!name.endsWith("/")) yield { path };
      // No file of a remote is deeper; a server may invent folders without end.
      else if (!folder.includes("/")) yield* this.list(path);
    }
  }

  async remove(path: string) {
    await this.request(this.urlOf(path), "DELETE", () => true);
  }

  protected urlOf(path: string): URL {
    const url = new URL(this.base);
    url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`;
    return url;
  }

  /**
   * Makes a request and gives the content of the answer to `read`; undefined if
   * the answer is 404.
   */
  protected async request<T>(
    url: URL,
    method: string,
    read: (content: Chunks) => T | Promise<T>,
    content?: Stored,
  ): Promise<T | undefined> {
    const { signal, stallTimeout, streamed, authorize } = this.options;
    for (let isFirst = true;; isFirst = false) {
      signal.throwIfAborted();
      using watch = new StallGuard(stallTimeout, signal);
      const send = async () =>
        await fetch(url, {
          method,
          headers: await authorize(method, url.href),
          redirect: content ? "manual" : "follow",
          signal: watch.signal,
          ...(content && { body: await watch.bodyOf(content, streamed) }),
        });
      const { ok, status, body } = await send().catch((error) => {
        throw watch.meaningOf(error);
      });
      const received = watch.piecesOf(body);
      try {
        if (ok) return await read(received);
        if (status === 404 || status === 410) return undefined;
        if (!isFirst || !AGAIN.includes(status)) {
          // Of S3.
          const text = await textOf(received);
          const [, code] = /<Code>(\w+)<\/Code>/.exec(text) ?? [];
          const why = code === undefined ? "" : ` (${code})`;
          const remedy = status === 401
            ? ": set DYLORA_REMOTE_TOKEN, or a user and password in DYLORA_REMOTE"
            : "";
          throw new RemoteFault(
            `answers ${status}${why} to ${method}${remedy}`,
          );
        }
      } finally {
        // Unless it was read.
        await body?.cancel().catch(() => {});
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
}

/** Ends a transfer that makes no progress. */
class StallGuard implements Disposable {
  readonly #stalled = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly signal: AbortSignal;
  readonly #outer: AbortSignal;
  #moved = 0;
  /** Bytes of a request that is sent as a whole. */
  #whole = 0;

  constructor(stallTimeout: number, signal: AbortSignal) {
    this.#outer = signal;
    this.signal = AbortSignal.any([this.#stalled.signal, signal]);
    const least = SLOWEST * stallTimeout / 1000;
    this.#timer = setInterval(() => {
      if (this.#whole > 0) this.#whole -= least;
      else if (this.#moved < least) this.#stalled.abort();
      this.#moved = 0;
    }, stallTimeout);
  }

  async bodyOf(content: Stored, streamed: number): Promise<BodyInit> {
    if (content instanceof Uint8Array) return content;
    if (content.size > streamed) {
      const file = await Deno.open(content.file);
      return ReadableStream.from(this.piecesOf(file.readable));
    }
    this.#whole = content.size;
    return await Deno.readFile(content.file);
  }

  async *piecesOf(
    stream: ReadableStream<Uint8Array<ArrayBuffer>> | null,
  ): Chunks {
    try {
      for await (const piece of stream ?? []) {
        this.#moved += piece.length;
        yield piece;
      }
    } catch (error) {
      throw this.meaningOf(error);
    }
  }

  /**
   * What an error of the transfer means. Those of the network, which name the
   * URL, become faults, which do not.
   */
  meaningOf(error: unknown): unknown {
    if (this.#outer.aborted) return this.#outer.reason;
    if (this.signal.aborted) return new RemoteFault("does not answer in time");
    if (!(error instanceof TypeError)) return error;
    const { message } = error.cause instanceof Error ? error.cause : error;
    const reason = message.replaceAll(/\s*(for url )?\(?https?:\S*/g, "");
    return new RemoteFault(`cannot be reached (${reason})`);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** Maximum bytes of a text: a manifest, a listing. */
const MAX_TEXT = 32 << 20;

/**
 * The content of a file as text.
 *
 * @throws {RemoteFault} If it is too long.
 */
export async function textOf(content: Chunks): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of content) {
    text += decoder.decode(piece, { stream: true });
    if (text.length > MAX_TEXT) throw new RemoteFault("sends an endless file");
  }
  return text + decoder.decode();
}
