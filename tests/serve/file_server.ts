import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, stop } from "esbuild";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Folder of the files that onnxruntime-web loads. */
export const RUNTIME = dirname(
  fileURLToPath(import.meta.resolve("onnxruntime-web/wasm")),
);

/** Content types by file extension; of other files, that of bytes. */
const TYPES: Readonly<Record<string, string>> = {
  html: "text/html",
  js: "text/javascript",
  json: "application/json",
  mjs: "text/javascript",
  wasm: "application/wasm",
};

/**
 * Serves an empty page, the files of onnxruntime-web and what else is given, on
 * this machine.
 *
 * @param contents By name: texts, or folders
 */
export class FileServer implements AsyncDisposable {
  /** Bytes of all that was served. */
  bytes = 0;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(
    readonly contents: Readonly<
      Record<string, { text: string } | { folder: string }>
    >,
  ) {
    this.#server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      async (request) => {
        const { pathname } = new URL(request.url);
        const body = await this.#read(pathname.slice(1));
        if (body === undefined) return new Response("none", { status: 404 });
        this.bytes += body.length;
        const extension = /\.(\w+)$/.exec(pathname)?.[1] ?? "html";
        const type = TYPES[extension] ?? "application/octet-stream";
        return new Response(body, { headers: { "content-type": type } });
      },
    );
  }

  get address(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/`;
  }

  async #read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (path === "") {
      return new TextEncoder().encode(
        '<!doctype html><title>Test</title><link rel="icon" href="data:,">',
      );
    }
    const [name, ...rest] = path.split("/");
    const content = this.contents[name!] ?? { folder: RUNTIME };
    if ("text" in content) return new TextEncoder().encode(content.text);
    const file = name! in this.contents ? rest : [name!];
    return await Deno.readFile(join(content.folder, ...file))
      .catch((error) => {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server.shutdown();
  }
}

/**
 * A module as one file.
 *
 * @param path Below the root of the project
 */
export async function bundled(
  path: string,
  options: Parameters<typeof build>[0] = {},
): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, path)],
    bundle: true,
    write: false,
    format: "esm",
    absWorkingDir: ROOT,
    logLevel: "silent",
    ...options,
  }).finally(() => stop());
  return outputFiles![0]!.text;
}
