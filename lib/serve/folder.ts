/** Files of a folder, on this machine or behind a URL. */
export interface Folder {
  readonly url: string;
  bytes(name: string): Promise<Uint8Array<ArrayBuffer>>;
  json<T>(name: string): Promise<T>;
}

/** Opens a folder by its path or URL; in browsers, relative to the page. */
export function openFolder(folder: string | URL): Folder {
  const base = urlOf(`${folder}`.replace(/\/*$/, "/"));
  const bytes = async (name: string) => {
    const url = new URL(name, base);
    try {
      return await (url.protocol === "file:" ? readFile(url) : download(url));
    } catch (error) {
      throw new Error(
        `Cannot read "${url}": ${
          (error as Error).message
        }; expected a folder that "deno task export PIPELINE STAGE --to onnx" wrote`,
        { cause: error },
      );
    }
  };
  return {
    url: base.href,
    bytes,
    async json<T>(name: string) {
      const text = new TextDecoder().decode(await bytes(name));
      try {
        return JSON.parse(text) as T;
      } catch (error) {
        throw new SyntaxError(
          `"${new URL(name, base)}" is not JSON: ${(error as Error).message}`,
        );
      }
    },
  };
}

/**
 * A module of Node.js, which Deno has as well. Not imported, since bundlers for
 * browsers follow imports.
 */
function builtIn<Module>(name: string): Module {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): Module };
  };
  return process.getBuiltinModule(name);
}

function urlOf(folder: string): URL {
  if (/^[a-z][a-z\d+.-]+:/i.test(folder)) return new URL(folder);
  const page = globalThis.location?.href;
  if (page !== undefined) return new URL(folder, page);
  return builtIn<typeof import("node:url")>("node:url").pathToFileURL(folder);
}

async function readFile(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const { readFile } = builtIn<typeof import("node:fs/promises")>(
    "node:fs/promises",
  );
  return new Uint8Array(await readFile(url));
}

async function download(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (response.ok) return new Uint8Array(await response.arrayBuffer());
  throw new Error(`status ${response.status}`);
}
