import { HubError } from "./hub_error.ts";
import type { HubSettings } from "./settings.ts";

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
export function delay(
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
