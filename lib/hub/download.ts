import { delay } from "@std/async/delay";
import { isWriteFault, statIfThere, writeAll } from "../files/files.ts";
import { hasContent } from "./repository_cache.ts";
import { messageOf, RemediedError, type RetryPolicy } from "./requests.ts";

/** A file to download. */
export interface RemoteFile {
  /** Name for messages: `"model.safetensors" of "FacebookAI/roberta-base"`. */
  readonly title: string;
  readonly size: number;
  /** As {@linkcode hasContent} takes it. */
  readonly hash: string;
  /**
   * Opens the content from byte `from` on, or at 0 if a server gives all of it
   * instead.
   */
  open(from: number): Promise<{
    readonly from: number;
    readonly bytes: ReadableStream<Uint8Array>;
  }>;
}

interface DownloadOptions {
  readonly retry: RetryPolicy;
  /**
   * Called with the number of bytes present, including those of an earlier
   * attempt.
   */
  readonly onBytes: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Downloads content to a file.
 *
 * An interrupted attempt leaves `FILE.incomplete`, which the next one resumes.
 * The file gets its own name only after its size and hash are verified.
 *
 * @throws {RemediedError} If size or hash differ.
 */
export async function download(
  content: RemoteFile,
  file: string,
  options: DownloadOptions,
): Promise<void> {
  const partial = `${file}.incomplete`;
  // A partial file may belong to another file: then the download starts over.
  for (let isLast = !statIfThere(partial)?.size;; isLast = true) {
    await receive(content, partial, options);
    if (await hasContent(partial, content.hash)) break;
    await Deno.remove(partial);
    if (!isLast) continue;
    throw new RemediedError(
      `The download of ${content.title} does not match the size and hash given by the hub (${content.size} bytes, ${content.hash})`,
      "The file was discarded. Try again; if it fails again, a proxy or mirror may modify files",
    );
  }
  await Deno.rename(partial, file);
}

/**
 * Appends the missing bytes to a partial file, or writes it anew if the server
 * gives all of them; reconnects as long as more of them arrive.
 */
async function receive(
  content: RemoteFile,
  partial: string,
  { retry, onBytes, signal }: DownloadOptions,
): Promise<void> {
  using file = await Deno.open(partial, {
    create: true,
    write: true,
    append: true,
  });
  let { size } = await Deno.stat(partial);
  /**
   * Most bytes that the file has had: a server that always starts over brings
   * no more.
   */
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
        }
        for (;;) {
          const chunk = await next(reader, retry);
          if (chunk === undefined) break;
          writeAll(file, chunk);
          size += chunk.length;
          onBytes(size);
          signal?.throwIfAborted();
          if (size > content.size) return;
        }
      } finally {
        await reader.cancel().catch(() => {});
      }
      if (size < content.size) throw new Error("the connection was closed");
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof RemediedError || isWriteFault(error)) throw error;
      failures = size > most ? 1 : failures + 1;
      most = Math.max(most, size);
      if (failures > retry.retries) {
        throw new RemediedError(
          `The download of ${content.title} stopped after ${size} of ${content.size} bytes: ${
            messageOf(error)
          }`,
          "Run it again to resume the download",
          { cause: error },
        );
      }
      await delay(retry.pause * 2 ** (failures - 1), { signal });
    }
  }
}

async function next(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { idleTimeout }: RetryPolicy,
): Promise<Uint8Array | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no data for ${idleTimeout / 1000} s`)),
      idleTimeout,
    );
  });
  try {
    return (await Promise.race([reader.read(), tooLong])).value;
  } finally {
    clearTimeout(timer);
  }
}
