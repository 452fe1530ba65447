import { hasContent } from "./repository_cache.ts";
import { delay, HubError, type Patience } from "./requests.ts";

/** Content of a file to download. */
export interface Content {
  /** Name for messages: `"model.safetensors" of "FacebookAI/roberta-base"`. */
  readonly title: string;
  readonly size: number;
  /** As {@linkcode hasContent} takes it. */
  readonly hash: string;
  /** Opens the content from byte `from` on; a server may give all of it instead. */
  open(from: number): Promise<OpenedContent>;
}

/** Content that arrives. */
interface OpenedContent {
  /** Where it starts: at the byte asked for, or at 0. */
  readonly from: number;
  readonly bytes: ReadableStream<Uint8Array>;
}

interface DownloadOptions {
  readonly patience: Patience;
  /** Called with the number of bytes present, including those of an earlier attempt. */
  readonly onBytes: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Downloads content to a file.
 *
 * An interrupted attempt leaves `FILE.incomplete`, which the next one resumes.
 * The file gets its own name only after its size and hash are verified.
 *
 * @throws {HubError} `damaged` if size or hash differ.
 */
export async function download(
  content: Content,
  file: string,
  options: DownloadOptions,
): Promise<void> {
  const partial = `${file}.incomplete`;
  const resumed = await receive(content, partial, options);
  let right = await hasContent(partial, content.hash);
  if (!right && resumed) {
    // The partial file may belong to another file: restart from the beginning.
    await Deno.remove(partial);
    await receive(content, partial, options);
    right = await hasContent(partial, content.hash);
  }
  if (!right) {
    await Deno.remove(partial);
    throw new HubError(
      "damaged",
      `The download of ${content.title} does not match the size and hash given by the hub (${content.size} bytes, ${content.hash})`,
      "The file was discarded. Try again; if it fails again, a proxy or mirror may modify files",
    );
  }
  await Deno.rename(partial, file);
}

/**
 * Appends the missing bytes to a partial file, or writes it anew if the server
 * gives all of them; reconnects as long as they arrive fast enough.
 *
 * @returns Whether the partial file has content of an earlier attempt.
 */
async function receive(
  content: Content,
  partial: string,
  { patience, onBytes, signal }: DownloadOptions,
): Promise<boolean> {
  using file = await Deno.open(partial, {
    create: true,
    write: true,
    append: true,
  });
  let { size } = await Deno.stat(partial);
  let resumed = size > 0;
  let pace = new Pace(patience);
  /** Most bytes that the file has had: a server that always starts over brings no more. */
  let most = size;
  for (let failures = 0; size < content.size;) {
    onBytes(size);
    try {
      const { from, bytes } = await content.open(size);
      const reader = bytes.getReader();
      try {
        if (from !== size) {
          await file.truncate(from);
          size = from;
          resumed = false;
        }
        for (let chunk; (chunk = await next(reader, patience)) !== undefined;) {
          await writeAll(file, chunk);
          onBytes(size += chunk.length);
          signal?.throwIfAborted();
          if (size > content.size) return resumed;
          pace.add(chunk.length);
        }
      } finally {
        await reader.cancel().catch(() => {});
      }
      if (size < content.size) throw new Error("the connection was closed");
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof HubError || isFileError(error)) throw error;
      failures = pace.isKept && size > most ? 1 : failures + 1;
      most = Math.max(most, size);
      pace = new Pace(patience);
      if (failures > patience.retries) {
        throw new HubError(
          "unreachable",
          `The download of ${content.title} stopped after ${size} of ${content.size} bytes: ${
            error instanceof Error ? error.message : error
          }`,
          "Run it again to resume the download",
          { cause: error },
        );
      }
      await delay(patience.pause * 2 ** (failures - 1), signal);
    }
  }
  return resumed;
}

/** Bytes per second since the last failure of a download. */
class Pace {
  readonly #patience: Patience;
  readonly #start = performance.now();
  /** Start of the current window in which the rate is checked, and the bytes received in it. */
  #from = this.#start;
  #bytes = 0;
  #all = 0;

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  /** @throws {Error} If too few bytes arrived in a window. */
  add(bytes: number): void {
    const { silence, rate } = this.#patience;
    const now = performance.now();
    this.#bytes += bytes;
    this.#all += bytes;
    if (now - this.#from < silence) return;
    if (!this.#suffices(this.#bytes, now - this.#from)) {
      throw new Error(`fewer than ${rate} bytes per second arrive`);
    }
    this.#from = now;
    this.#bytes = 0;
  }

  /** Whether the mean rate since the start, pauses included, is high enough. */
  get isKept(): boolean {
    return this.#suffices(this.#all, performance.now() - this.#start);
  }

  #suffices(bytes: number, milliseconds: number): boolean {
    return bytes > 0 && bytes * 1000 >= this.#patience.rate * milliseconds;
  }
}

async function next(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { silence }: Patience,
): Promise<Uint8Array | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no data for ${silence / 1000} s`)),
      silence,
    );
  });
  try {
    return (await Promise.race([reader.read(), tooLong])).value;
  } finally {
    clearTimeout(timer);
  }
}

async function writeAll(file: Deno.FsFile, chunk: Uint8Array): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    done += await file.write(chunk.subarray(done));
  }
}

function isFileError(error: unknown): boolean {
  return typeof (error as { code?: unknown }).code === "string" &&
    /^E(NOSPC|DQUOT|ACCES|PERM|ROFS|IO)$/.test(
      (error as { code: string }).code,
    );
}
