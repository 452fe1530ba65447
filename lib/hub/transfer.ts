import { createHash, type Hash } from "node:crypto";
import type { HubSettings } from "./settings.ts";

/** What kept a file of the hub from being fetched, for code; the message says it for people. */
type HubErrorCode =
  | "not-found"
  | "refused"
  | "busy"
  | "unreachable"
  | "offline"
  | "damaged"
  | "disk-full"
  | "not-writable";

/** A file of the hub that cannot be had: what happened and, on a second line, what to do about it. */
export class HubError extends Error {
  override readonly name = "HubError";

  constructor(
    readonly code: HubErrorCode,
    problem: string,
    remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem}\n${remedy}`, options);
  }
}

/** Turns the file system's refusals (disk full, no permission) into advice; other errors come back as they are. */
export function explainFileError(error: unknown, folder: string): unknown {
  switch ((error as { code?: unknown } | null)?.code) {
    case "ENOSPC":
    case "EDQUOT":
      return new HubError(
        "disk-full",
        `No space left on the disk of the hub's cache "${folder}"`,
        "Free some space (hf cache lists what is in it), or name a folder on another disk in HF_HUB_CACHE",
        { cause: error },
      );
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENOTDIR":
      return new HubError(
        "not-writable",
        `Cannot write to the hub's cache "${folder}": ${
          (error as Error).message
        }`,
        "Make the folder writable, or name another one in HF_HUB_CACHE",
        { cause: error },
      );
    default:
      return error;
  }
}

/** How patiently the hub is asked. */
export interface Patience {
  /** How often a request that failed is tried again. */
  readonly retries: number;
  /** Milliseconds before the first retry; each later one waits twice as long. */
  readonly pause: number;
  /** Milliseconds without a sign of life after which a connection is given up. */
  readonly silence: number;
}

/** What suits a person who waits: about a minute in all. */
export const PATIENCE: Patience = { retries: 6, pause: 1000, silence: 30_000 };

/** Longest wait that the hub may ask for, in milliseconds; beyond it the user had better know. */
const LONGEST_PAUSE = 120_000;

/**
 * Makes a `fetch` for the hub: it tries again, with growing pauses, when the
 * hub is busy or the network fails, and turns refusals into {@linkcode HubError}s.
 *
 * Answers of 404 are handed on: what they mean depends on the question.
 */
export function hubFetch(
  { endpoint, token }: HubSettings,
  patience: Patience,
  signal?: AbortSignal,
): typeof fetch {
  return async (input, init) => {
    for (let attempt = 0;; attempt++) {
      const last = attempt === patience.retries;
      const pause = patience.pause * 2 ** attempt;
      let response: Response;
      try {
        response = await fetchWithin(patience.silence, input, init, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (last) throw unreachable(endpoint, error);
        await delay(pause, signal);
        continue;
      }
      const { status } = response;
      if (response.ok || status === 404) return response;
      await response.body?.cancel();
      if (status === 401 || status === 403) throw refused(response, token);
      if (status !== 429 && status < 500) {
        throw new HubError(
          "unreachable",
          `The hub answers ${status} to ${response.url}`,
          `Check that ${endpoint} is a hub (HF_ENDPOINT)`,
        );
      }
      const asked = retryAfter(response);
      if (last || asked !== undefined && asked > LONGEST_PAUSE) {
        throw busy(response, attempt + 1, asked);
      }
      await delay(asked ?? pause, signal);
    }
  };
}

/** Fetches; the headers must arrive in time, the body may take longer. */
async function fetchWithin(
  milliseconds: number,
  input: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const watch = new AbortController();
  const timer = setTimeout(
    () => watch.abort(new Error(`no answer within ${milliseconds / 1000} s`)),
    milliseconds,
  );
  try {
    return await fetch(input, {
      ...init,
      signal: AbortSignal.any([watch.signal, ...signal ? [signal] : []]),
    });
  } finally {
    clearTimeout(timer);
  }
}

/** Milliseconds that an answer asks to wait, given in seconds or as a date. */
function retryAfter({ headers }: Response): number | undefined {
  const value = headers.get("retry-after");
  if (value === null) return undefined;
  const milliseconds = /^\d+$/.test(value)
    ? Number(value) * 1000
    : Date.parse(value) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : Math.max(0, milliseconds);
}

/** Waits, but not beyond an abort. */
function delay(
  milliseconds: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function unreachable(endpoint: string, cause: unknown): HubError {
  return new HubError(
    "unreachable",
    `Cannot reach the hub at ${endpoint}: ${
      cause instanceof Error ? cause.message : cause
    }`,
    "Check the connection and HF_ENDPOINT; offline, name a local folder, or set HF_HUB_OFFLINE=1 if the files are in the cache",
    { cause },
  );
}

function refused(response: Response, token: string | undefined): HubError {
  return new HubError(
    "refused",
    `The hub refuses ${response.url} (${response.status}): there is no such repository, or it is private or gated`,
    token
      ? "Check the name, that HF_TOKEN may read it, and that its terms are accepted on its page"
      : "Check the name; for a private or gated repository set HF_TOKEN to an access token that may read it",
  );
}

function busy(
  response: Response,
  tries: number,
  asked: number | undefined,
): HubError {
  const wait = asked === undefined
    ? ""
    : ` and asks to wait ${Math.ceil(asked / 1000)} s`;
  return new HubError(
    "busy",
    `The hub is busy: it answers ${response.status} to ${response.url}${wait} (asked ${tries} times)`,
    "Try again later; with an access token in HF_TOKEN the hub allows more requests",
  );
}

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
