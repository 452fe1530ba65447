import { createHash, type Hash } from "node:crypto";
import { HubError } from "./hub_error.ts";
import { delay, type Patience } from "./hub_fetch.ts";

/** A content to be fetched. */
export interface Content {
  /** For messages: `model.safetensors of FacebookAI/roberta-base`. */
  readonly title: string;
  readonly size: number;
  /** How its hash is taken: plain SHA-256, or as git hashes a blob. */
  readonly algorithm: "sha256" | "git";
  /** In hexadecimal. */
  readonly hash: string;
  /** Opens it from a byte onwards. */
  open(from: number): Promise<ReadableStream<Uint8Array>>;
}

export interface DownloadOptions {
  readonly patience: Patience;
  /** Told how many bytes are there, those of an earlier attempt included. */
  readonly onBytes: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fetches a content into a file.
 *
 * What an interrupted attempt left in `partial` is kept and continued. The
 * file appears under its own name only if size and hash are right.
 *
 * @throws {HubError} `damaged` if the content is not the one announced.
 */
export async function download(
  content: Content,
  file: string,
  options: DownloadOptions,
): Promise<void> {
  const partial = `${file}.incomplete`;
  const resumed = await receive(content, partial, options);
  let right = await isRight(content, partial);
  if (!right && resumed) {
    // The part that was there may be another file's: once more from the start.
    await Deno.remove(partial);
    await receive(content, partial, options);
    right = await isRight(content, partial);
  }
  if (!right) {
    await Deno.remove(partial);
    throw new HubError(
      "damaged",
      `What arrived for ${content.title} is not the file that the hub announced (${content.size} bytes, hash ${content.hash})`,
      "Nothing of it was kept. Try again; if it stays so, a proxy or mirror in between changes files",
    );
  }
  await Deno.rename(partial, file);
}

/**
 * Appends what is missing to a partial file, reconnecting as long as each
 * connection brings something.
 *
 * @returns True if the partial file was not empty at first.
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
  let { size } = await file.stat();
  const resumed = size > 0;
  for (let failures = 0; size < content.size;) {
    onBytes(size);
    const before = size;
    try {
      const reader = (await content.open(size)).getReader();
      try {
        for (let chunk; (chunk = await next(reader, patience)) !== undefined;) {
          await writeAll(file, chunk);
          onBytes(size += chunk.length);
          signal?.throwIfAborted();
          if (size > content.size) return resumed;
        }
      } finally {
        await reader.cancel().catch(() => {});
      }
      if (size < content.size) throw new Error("the connection was closed");
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof HubError || isFileError(error)) throw error;
      failures = size > before ? 1 : failures + 1;
      if (failures > patience.retries) {
        throw new HubError(
          "unreachable",
          `The download of ${content.title} broke off after ${size} of ${content.size} bytes: ${
            error instanceof Error ? error.message : error
          }`,
          "Start it again: it goes on from there",
          { cause: error },
        );
      }
      await delay(patience.pause * 2 ** (failures - 1), signal);
    }
  }
  return resumed;
}

async function next(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { silence }: Patience,
): Promise<Uint8Array | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`nothing arrived for ${silence / 1000} s`)),
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

async function isRight(content: Content, path: string): Promise<boolean> {
  const { size } = await Deno.stat(path);
  if (size !== content.size) return false;
  const hash = newHash(content);
  using file = await Deno.open(path);
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex") === content.hash;
}

function newHash({ algorithm, size }: Content): Hash {
  return algorithm === "sha256"
    ? createHash("sha256")
    : createHash("sha1").update(`blob ${size}\0`);
}

function isFileError(error: unknown): boolean {
  return typeof (error as { code?: unknown }).code === "string" &&
    /^E(NOSPC|DQUOT|ACCES|PERM|ROFS|IO)$/.test(
      (error as { code: string }).code,
    );
}
