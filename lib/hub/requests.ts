import { delay } from "@std/async/delay";
import { RemediedError } from "../pypi/remedied_error.ts";
import type { HubSettings } from "./settings.ts";

export { RemediedError };

/** What was thrown, in words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Retries and limits of requests to the hub. */
export interface RetryPolicy {
  /** Number of retries of a failed request. */
  readonly retries: number;
  /** Milliseconds before the first retry; doubled for each further one. */
  readonly pause: number;
  /**
   * Milliseconds without data after which a connection is abandoned; a whole
   * answer of the API must arrive within them.
   */
  readonly idleTimeout: number;
}

/**
 * Gives up after about one minute if the hub has responded before and now
 * fails; see {@linkcode UNREACHED_RETRIES}.
 */
export const RETRY_POLICY: RetryPolicy = {
  retries: 6,
  pause: 1000,
  idleTimeout: 30_000,
};

/** Options of hub requests. */
export interface HubOptions {
  readonly settings: HubSettings;
  readonly retry?: RetryPolicy;
  /** Called with a sentence for the user. */
  readonly log?: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Number of retries where the hub has never responded: without a network, or
 * behind a firewall, more of them only delay the error.
 */
const UNREACHED_RETRIES = 1;

/** Endpoints that have responded to this process. */
const reached = new Set<string>();

/**
 * Maximum `Retry-After` to wait for, in milliseconds; a request with a longer
 * one fails.
 */
const MAX_PAUSE = 120_000;

/**
 * Maximum bytes of an answer of the API after decompression; typical ones have
 * a few thousand.
 */
const MAX_ANSWER = 8 << 20;

/**
 * Creates a `fetch` for the hub that retries with exponential backoff when the
 * hub is busy or the network fails, and throws {@linkcode RemediedError}s.
 *
 * Responses of status 404 are returned: their meaning depends on the request.
 *
 * @param kind Answers of the API are received as a whole, within limits of time
 * and size; contents are streams, which {@linkcode download} limits.
 */
export function hubFetch(
  kind: "answer" | "content",
  { settings: { endpoint, token }, retry = RETRY_POLICY, log, signal }:
    HubOptions,
): typeof fetch {
  return async (input, init) => {
    for (let attempt = 0;; attempt++) {
      let failure: RemediedError;
      let asked: number | undefined;
      const watch = new AbortController();
      const timer = setTimeout(() => {
        const seconds = retry.idleTimeout / 1000;
        watch.abort(new Error(`no response within ${seconds} s`));
      }, retry.idleTimeout);
      try {
        const signals = [watch.signal, ...signal ? [signal] : []];
        const options = { ...init, signal: AbortSignal.any(signals) };
        const started = await fetch(input, options);
        reached.add(endpoint);
        const response = kind === "answer"
          ? await receiveAll(started)
          : started;
        const { ok, status, url } = response;
        if (ok || status === 404) return response;
        await response.body?.cancel();
        if (status === 401 || status === 403) throw refused(response, token);
        if (status !== 429 && status < 500) {
          throw new RemediedError(
            `The hub responds with status ${status} to ${url}`,
            `Check that HF_ENDPOINT (${endpoint}) is the address of a hub`,
          );
        }
        asked = retryAfter(response);
        failure = busy(response, asked);
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof RemediedError) throw error;
        failure = unreachable(endpoint, error);
        // fetch() refuses the request itself, such as a redirect to a file;
        // failures of the network have a cause.
        if (error instanceof TypeError && error.cause === undefined) {
          throw failure;
        }
      } finally {
        // A content that is received later has no limit of time as a whole.
        clearTimeout(timer);
      }
      // The hub may ask for 0 seconds, or for a date in the past.
      const pause = Math.max(asked ?? 0, retry.pause * 2 ** attempt);
      const retries = reached.has(endpoint)
        ? retry.retries
        : Math.min(retry.retries, UNREACHED_RETRIES);
      const isLast = attempt === retries;
      if (isLast || asked !== undefined && asked > MAX_PAUSE) throw failure;
      const next = `try ${attempt + 2} of ${retries + 1}`;
      log?.(`${failure.problem}; ${next} in ${Math.ceil(pause / 1000)} s`);
      await delay(pause, { signal });
    }
  };
}

/** Receives the whole body of a response, unless its status alone matters. */
async function receiveAll(response: Response): Promise<Response> {
  const { body, ok, status, headers, url } = response;
  if (body === null || !ok && status !== 404) return response;
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > MAX_ANSWER) break;
    }
  } catch (error) {
    throw new Error("the answer broke off", { cause: error });
  }
  if (size <= MAX_ANSWER) {
    return new Response(new Blob(chunks), { status, headers });
  }
  throw new RemediedError(
    `The hub's answer to ${url} has more than ${MAX_ANSWER >> 20} MiB`,
    "Check that HF_ENDPOINT is the address of a hub",
  );
}

/** Milliseconds of the `Retry-After` header, which gives seconds or a date. */
function retryAfter({ headers }: Response): number | undefined {
  const value = headers.get("retry-after");
  if (value === null) return undefined;
  const milliseconds = /^\d+$/.test(value)
    ? Number(value) * 1000
    : Date.parse(value) - Date.now();
  return Number.isNaN(milliseconds) ? undefined : milliseconds;
}

function unreachable(endpoint: string, cause: unknown): RemediedError {
  return new RemediedError(
    `Cannot reach the hub at ${endpoint}: ${messageOf(cause)}`,
    "Check the connection and HF_ENDPOINT; to work offline, use a local folder, or set HF_HUB_OFFLINE=1 if the files are in the cache",
    { cause },
  );
}

function refused(response: Response, token: string | undefined): RemediedError {
  return new RemediedError(
    `The hub denies access to ${response.url} (status ${response.status}): the repository does not exist, or it is private or gated`,
    token
      ? "Check the name, that HF_TOKEN has access to the repository, and that you accepted its terms on its page"
      : "Check the name; for a private or gated repository, set HF_TOKEN to an access token with access to it",
  );
}

function busy(response: Response, asked: number | undefined): RemediedError {
  const wait = asked === undefined
    ? ""
    : ` and asks to retry after ${Math.ceil(asked / 1000)} s`;
  return new RemediedError(
    `The hub is busy: it responds with status ${response.status} to ${response.url}${wait}`,
    "Try again later; the hub allows more requests with an access token in HF_TOKEN",
  );
}
