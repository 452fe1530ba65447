/** Failure of a request to a tracking server; the message has the problem and, on a second line, the remedy. */
export class TrackError extends Error {
  override readonly name = "TrackError";

  constructor(problem: string, remedy: string, options?: ErrorOptions) {
    super(`${problem}\n${remedy}`, options);
  }
}

/** A tracking server with a JSON interface. */
export interface Server {
  /** Name in messages: `MLflow`. */
  readonly title: string;
  /** URL without a slash at its end. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Command that starts such a server. */
  readonly start: string;
  readonly signal: AbortSignal;
}

/** The server at an address: the user and password in it become a header (RFC 7617), so that no message shows them. */
export function serverAt(address: URL): Pick<Server, "url" | "headers"> {
  const { username, password } = address;
  const user = [username, password].map(decodeURIComponent).join(":");
  const basic = `Basic ${new TextEncoder().encode(user).toBase64()}`;
  const bare = new URL(address);
  bare.username = bare.password = "";
  return {
    url: bare.href.replace(/\/+$/, ""),
    headers: username === "" ? {} : { authorization: basic },
  };
}

/** Milliseconds in which a server must answer. */
const TIMEOUT = 60_000;

/**
 * Sends a request, by POST if it has a body.
 *
 * @param path Begins with a slash.
 * @returns The answer, parsed.
 * @throws {TrackError} If the server cannot be reached, refuses, or does not answer in JSON.
 */
export async function ask(
  { title, url, headers, start, signal }: Server,
  path: string,
  body?: unknown,
): Promise<unknown> {
  const sent = body === undefined
    ? {}
    : { method: "POST", body: JSON.stringify(body) };
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${url}${path}`, {
      ...sent,
      headers: { ...headers, "content-type": "application/json" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
    });
    text = await response.text();
  } catch (error) {
    signal.throwIfAborted();
    throw new TrackError(
      `Cannot reach the ${title} server at ${url}: ${(error as Error).message}`,
      `Start one with "${start}", or give its address with --url`,
      { cause: error },
    );
  }
  const { ok, status } = response;
  if (!ok) {
    throw new TrackError(
      `The server at ${url} responds with status ${status} to ${path}: ${
        text.slice(0, 300)
      }`,
      `Check that it is the ${title} server, and that you may write to it`,
    );
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TrackError(
      `The server at ${url} does not answer in JSON to ${path}`,
      `Check that it is the ${title} server`,
      { cause: error },
    );
  }
}

/** Items in groups of a size, as many as fit into one request. */
export function chunks<T>(items: readonly T[], size: number): T[][] {
  return Array.from(
    { length: Math.ceil(items.length / size) },
    (_, i) => items.slice(i * size, (i + 1) * size),
  );
}
