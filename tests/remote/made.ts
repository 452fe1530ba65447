/** Results, remotes and servers of tests. */
import { openTransport } from "../../lib/remote/open.ts";
import { Remote } from "../../lib/remote/remote.ts";
import {
  makeKey,
  readKey,
  type SigningKey,
} from "../../lib/remote/signature.ts";
import { treeDigest } from "../../lib/store/blobs.ts";
import { canonicalJson, digest } from "../../lib/files/digest.ts";
import { type Manifest, MANIFEST_VERSION } from "../../lib/store/manifests.ts";
import { Store } from "../../lib/store/store.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";

/** Caches, keys and what remotes have said, in a temporary folder. */
export class Caches extends TemporaryFolder {
  readonly said: string[] = [];

  store(name: string): Store {
    return new Store(this.join(name));
  }

  async key(name: string): Promise<SigningKey> {
    const file = this.join(`${name}.json`);
    await makeKey(file);
    return (await readKey(file))!;
  }

  async remote(
    url: string,
    store: Store,
    { key, trusted = key ? [key.signer] : [], ...more }: {
      key?: SigningKey;
      trusted?: readonly string[];
      stallTimeout?: number;
      continueOnFailure?: boolean;
      signal?: AbortSignal;
    },
  ): Promise<Remote> {
    const transport = await openTransport(new URL(url), {
      name: "REMOTE",
      isReadOnly: key === undefined,
      signal: more.signal ?? new AbortController().signal,
      ...(more.stallTimeout !== undefined &&
        { stallTimeout: more.stallTimeout }),
    });
    const say = (sentence: string) => void this.said.push(sentence);
    return new Remote(transport, store, {
      key,
      trusted,
      say,
      continueOnFailure: more.continueOnFailure ?? true,
    });
  }
}

/** Makes a result with these files. Its key depends on `name` alone. */
export async function makeResult(
  store: Store,
  name: string,
  texts: Readonly<Record<string, string | Uint8Array<ArrayBuffer>>>,
): Promise<Manifest> {
  const folder = store.makeFolder(`made-${crypto.randomUUID()}`);
  const paths = Object.keys(texts);
  for (const [path, text] of Object.entries(texts)) {
    const bytes = typeof text === "string"
      ? new TextEncoder().encode(text)
      : text;
    Deno.writeFileSync(`${folder}/${path}`, bytes);
  }
  const stored = await store.blobs.putAll(paths.map((it) => `${folder}/${it}`));
  const files = paths.map((path, i) => ({ path, ...stored[i]! }));
  const parts = {
    code: await digest("code"),
    params: { name },
    sources: {},
    inputs: {},
    runtimes: { engine: "tensorflow 2 cpu" },
  };
  const manifest: Manifest = {
    version: MANIFEST_VERSION,
    key: await digest(canonicalJson(parts)),
    parts,
    task: "make",
    pipeline: "test",
    stage: name,
    started: "2026-01-02T03:04:05.000Z",
    runtime: "deno 2",
    seconds: 12,
    metrics: {},
    content: await treeDigest(files),
    files,
    log: await store.blobs.putText(`log of ${name}\n`),
  };
  store.manifests.write(manifest);
  return manifest;
}

/** Texts of which one is worth compressing and one is not. */
export const TEXTS = {
  "zeros.txt": "0".repeat(100_000),
  "random.bin": crypto.getRandomValues(new Uint8Array(50_000)),
};

/** A server of the files in a folder, by GET, HEAD and PUT, with faults. */
export class FaultyServer implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  /** Method and path of each request. */
  readonly requests: string[] = [];
  readonly headers: Headers[] = [];

  /** @param fault Answers in place of the folder, for some requests. */
  constructor(
    readonly folder: string,
    public fault: (
      request: Request,
      path: string,
    ) => Response | undefined | Promise<Response | undefined> = () => undefined,
  ) {
    const options = { port: 0, hostname: "127.0.0.1", onListen() {} };
    this.#server = Deno.serve(options, (request) => this.#answer(request));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/results`;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const path = pathname.replace("/results/", "");
    this.requests.push(`${request.method} ${path}`);
    this.headers.push(request.headers);
    const wrong = await this.fault(request, path);
    if (wrong !== undefined) return wrong;
    const file = `${this.folder}/${path}`;
    if (request.method === "PUT") {
      Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
      Deno.writeFileSync(file, await request.bytes());
      return new Response(null, { status: 201 });
    }
    try {
      const bytes = Deno.readFileSync(file);
      return new Response(request.method === "HEAD" ? null : bytes);
    } catch {
      return new Response("not here", { status: 404 });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** Stores a result in a remote, as a run with new results does. */
export async function offerAll(
  remote: Remote,
  ...manifests: readonly Manifest[]
): Promise<void> {
  for (const manifest of manifests) remote.offer(manifest);
  await remote.end();
}
