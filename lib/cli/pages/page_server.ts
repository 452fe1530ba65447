import { extname } from "node:path";
import { type Arguments, UsageError } from "../arguments/arguments.ts";
import { writeLine } from "../terminal/renderer.ts";

/** Body and type of a response. */
interface Content {
  readonly body: BodyInit;
  /** A file extension, of {@linkcode TYPES}. */
  readonly type: string;
  /** Another content security policy than that of the page. */
  readonly policy?: string;
}

/**
 * Content security policy of pages: scripts, WebAssembly and data of this
 * server only, no framing by others.
 */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

/**
 * Headers of every response: no sharing with other origins, no caching, no
 * referrer.
 */
const HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": POLICY,
  "cross-origin-opener-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Content types by file extension. */
const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** A file, whose type its extension says; TypeScript without its types. */
async function fileContent(path: string): Promise<Content> {
  const type = extname(path);
  if (type !== ".ts") return { body: (await Deno.open(path)).readable, type };
  const { stripTypeScriptTypes } = await import("node:module");
  const text = await Deno.readTextFile(path);
  return { body: stripTypeScriptTypes(text), type: ".js" };
}

/**
 * Serves a page on this machine only, at an address with a random token, which
 * it prints. Its port is that of the option `--port`.
 *
 * @param name The command that serves it
 * @param files Paths of files by their names below the address, "" for the page
 * itself
 * @param signal Ends the server
 * @param answer Other content, by its name; undefined if there is none
 * @throws {UsageError} If the port is invalid or in use.
 */
export async function servePage(
  args: Arguments,
  name: string,
  files: Readonly<Record<string, string>>,
  signal: AbortSignal,
  answer?: (
    name: string,
    search: URLSearchParams,
  ) => Content | undefined | Promise<Content | undefined>,
): Promise<void> {
  const token = crypto.randomUUID();
  const port = args.integer("port", 0, 65_535) ?? 0;
  const onListen = ({ port }: Deno.NetAddr) => {
    const url = `http://127.0.0.1:${port}/${token}/`;
    const text = `${url}\nOpen this page in a browser; press Ctrl-C to stop`;
    writeLine(args, { type: name, url }, text);
  };
  const refuse = (status: number, text: string) =>
    new Response(`${text}\n`, { status, headers: HEADERS });
  const respond = async (request: Request) => {
    const { pathname, hostname, searchParams } = new URL(request.url);
    const [, pathToken, ...path] = pathname.split("/");
    if (pathToken !== token || !["127.0.0.1", "localhost"].includes(hostname)) {
      return refuse(
        403,
        `Open the address that "deno task ${name}" has printed`,
      );
    }
    if (!["GET", "HEAD"].includes(request.method)) {
      return refuse(405, "This page is read-only");
    }
    const asked = path.join("/");
    const content = Object.hasOwn(files, asked)
      ? await fileContent(files[asked]!)
      : await answer?.(asked, searchParams);
    if (content === undefined) return refuse(404, "Page not found");
    const { body, type, policy = POLICY } = content;
    return new Response(body, {
      headers: {
        ...HEADERS,
        "content-security-policy": policy,
        "content-type": TYPES[type] ?? "application/octet-stream",
      },
    });
  };
  try {
    await Deno.serve({ hostname: "127.0.0.1", port, signal, onListen }, respond)
      .finished;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new UsageError(
      `Port ${port} is in use by another program: choose another port with --port`,
    );
  }
}
