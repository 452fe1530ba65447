import { createHash } from "node:crypto";

/** A request as the server saw it. */
export interface SeenRequest {
  readonly host: "hub" | "cdn";
  readonly method: string;
  readonly path: string;
  readonly range: string | null;
  readonly authorization: string | null;
}

/** A commit of a repository of the server. */
export interface ServedRepository {
  /** `models/org/name` or `datasets/org/name` */
  readonly id: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** Token without which it answers 401, as it does for what does not exist. */
  readonly token?: string;
  readonly gated?: boolean;
  /** The branch that points to it; default: main. */
  readonly branch?: string;
}

/** A commit that the server got. */
export interface ReceivedCommit {
  /** `org/name` */
  readonly repository: string;
  readonly title: string;
  /** Contents by path. */
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

/** Answers a request in the server's place, or leaves it to the server. */
export type Fault = (
  request: SeenRequest,
  answer: () => Response,
) => Response | Promise<Response> | undefined;

/**
 * A server on this machine that answers as the hub does: the repository's
 * commit and files as JSON, small files after a redirect on the same host,
 * large ones after a redirect to a content network, both with ranges and etags.
 * It takes commits with a write token as well, large files by LFS.
 */
export class LocalHub implements AsyncDisposable {
  readonly seen: SeenRequest[] = [];
  /** Repositories that were created: `org/name`, and whether it is private. */
  readonly created = new Map<string, boolean>();
  readonly commits: ReceivedCommit[] = [];
  /** Large files that were uploaded, by SHA-256. */
  readonly #uploads = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly #hub: Deno.HttpServer<Deno.NetAddr>;
  readonly #cdn: Deno.HttpServer<Deno.NetAddr>;
  #fault: Fault = () => undefined;

  /** @param writeToken Token without which it takes nothing. */
  constructor(
    readonly repositories: readonly ServedRepository[],
    readonly writeToken?: string,
  ) {
    const listen = (
      host: "hub" | "cdn",
      answer: (request: Request) => Promise<Response> | Response,
    ) =>
      Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (
        request,
      ) => {
        const { pathname } = new URL(request.url);
        const seen: SeenRequest = {
          host,
          method: request.method,
          path: decodeURIComponent(pathname),
          range: request.headers.get("range"),
          authorization: request.headers.get("authorization"),
        };
        this.seen.push(seen);
        const response = await answer(request);
        return await this.#fault(seen, () => response) ?? response;
      });
    this.#hub = listen("hub", (request) => this.#answer(request));
    this.#cdn = listen("cdn", (request) => this.#content(request));
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#hub.addr.port}`;
  }

  /** Lets a function answer in the server's place from now on. */
  breakWith(fault: Fault): void {
    this.#fault = fault;
  }

  /** Requests for the content of large files. */
  get contents(): readonly SeenRequest[] {
    return this.seen.filter(({ host }) => host === "cdn");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#hub.shutdown(), this.#cdn.shutdown()]);
  }

  async #answer(request: Request): Promise<Response> {
    const path = decodeURIComponent(new URL(request.url).pathname);
    const writing =
      /^\/(?:api\/repos\/(create)|(?:api\/models\/)?([\w-]+\/[\w-]+)(?:\/(preupload|commit)\/main|\.git\/info\/lfs\/objects\/(batch)))$/
        .exec(path);
    if (request.method === "POST" && writing !== null) {
      const [, create, id, action, batch] = writing;
      return await this.#write(request, (create ?? action ?? batch)!, id ?? "");
    }
    const [, created] = /^\/api\/models\/([\w-]+\/[\w-]+)$/.exec(path) ?? [];
    if (created !== undefined && this.created.has(created)) {
      return Response.json({ _id: "621ffdc036468d709f17434d", id: created });
    }
    const [, api, id, action, rest = ""] =
      /^\/(api\/)?((?:models\/|datasets\/)?[\w.-]+(?:\/[\w.-]+)?)\/(revision|tree|paths-info|resolve|resolve-cache)\/(.+)$/
        .exec(path) ?? [];
    const type = id?.startsWith("datasets/") || api ? "" : "models/";
    const commits = this.repositories.filter((known) =>
      known.id === `${type}${id}`
    );
    const [newest] = commits;
    const authorization = request.headers.get("authorization");
    if (
      newest === undefined ||
      newest.token && authorization !== `Bearer ${newest.token}`
    ) {
      return failure(401, "RepoNotFound", "Invalid username or password.");
    }
    if (newest.gated) {
      return failure(403, "GatedRepo", "Access to this model is restricted.");
    }
    const [revision = "", ...file] = action === "revision"
      ? [rest]
      : rest.split("/");
    const repository = commits.find(({ commit, branch = "main" }) =>
      revision === branch || revision === commit
    );
    if (repository === undefined) {
      return failure(404, "RevisionNotFound", `Invalid rev id: ${revision}`);
    }
    const name = file.join("/");
    switch (action) {
      case "revision":
        return Response.json({
          _id: "621ffdc036468d709f17434d",
          id: repository.id.replace(/^\w+\//, ""),
          sha: repository.commit,
          private: repository.token !== undefined,
          lastModified: "2024-01-01T00:00:00.000Z",
        });
      case "tree":
        return this.#tree(repository, new URL(request.url));
      case "paths-info": {
        const { paths } = await request.json();
        return Response.json(paths.flatMap((path: string) => {
          const bytes = repository.files.get(path);
          return bytes ? [pathInfo(path, bytes)] : [];
        }));
      }
      default:
        return action === "resolve-cache"
          ? withRange(request, repository.files.get(name)!, {
            "x-repo-commit": repository.commit,
          })
          : this.#resolve(repository, name);
    }
  }

  async #write(
    request: Request,
    action: string,
    id: string,
  ): Promise<Response> {
    if (
      request.headers.get("authorization") !== `Bearer ${this.writeToken}`
    ) {
      return failure(403, "Forbidden", "You do not have write access");
    }
    const text = await request.text();
    switch (action) {
      case "create": {
        const { name, organization, visibility } = JSON.parse(text);
        const created = `${organization}/${name}`;
        if (this.created.has(created)) {
          return failure(
            409,
            "Conflict",
            "You already created this model repo",
          );
        }
        this.created.set(created, visibility === "private");
        return Response.json({ url: `${this.endpoint}/${created}` });
      }
      case "preupload":
        return Response.json({
          files: JSON.parse(text).files.map((
            { path, size }: { path: string; size: number },
          ) => ({ path, uploadMode: size > LARGE ? "lfs" : "regular" })),
        });
      case "batch":
        return Response.json({
          transfer: "basic",
          objects: JSON.parse(text).objects.map((
            { oid, size }: { oid: string; size: number },
          ) => ({
            oid,
            size,
            actions: {
              upload: {
                href: `http://127.0.0.1:${this.#cdn.addr.port}/${oid}`,
              },
            },
          })),
        });
      default: {
        const [header, ...files] = text.split("\n").map((line) =>
          JSON.parse(line)
        );
        this.commits.push({
          repository: id,
          title: header.value.summary,
          files: new Map(files.map(({ key, value }) => [
            value.path,
            key === "lfsFile"
              ? this.#uploads.get(value.oid)!
              : Uint8Array.fromBase64(value.content),
          ])),
        });
        return Response.json({
          commitOid: "f".repeat(40),
          commitUrl: `${this.endpoint}/${id}/commit/${"f".repeat(40)}`,
          hookOutput: "",
        });
      }
    }
  }

  /** A page of the list of files, and a link to the next one. */
  #tree({ files }: ServedRepository, url: URL): Response {
    const begin = Number(url.searchParams.get("cursor"));
    const entries = [...files].map(([path, bytes]) => pathInfo(path, bytes));
    const next = new URL(url);
    next.searchParams.set("cursor", String(begin + PAGE));
    return Response.json(entries.slice(begin, begin + PAGE), {
      headers: begin + PAGE < entries.length
        ? { link: `<${next}>; rel="next"` }
        : {},
    });
  }

  #resolve({ id, commit, files }: ServedRepository, name: string): Response {
    const bytes = files.get(name);
    if (bytes === undefined) {
      return failure(404, "EntryNotFound", "Entry not found");
    }
    const { lfs, oid } = pathInfo(name, bytes);
    const parts = name.split("/").map(encodeURIComponent);
    const headers = {
      "x-repo-commit": commit,
      "x-linked-size": String(bytes.length),
      "x-linked-etag": `"${lfs?.oid ?? oid}"`,
      "accept-ranges": "bytes",
    };
    return lfs
      ? redirect(
        302,
        `http://127.0.0.1:${this.#cdn.addr.port}/${lfs.oid}`,
        headers,
      )
      : redirect(
        307,
        `/api/${id}/resolve-cache/${commit}/${parts.join("/")}`,
        headers,
      );
  }

  async #content(request: Request): Promise<Response> {
    const oid = new URL(request.url).pathname.slice(1);
    if (request.method === "PUT") {
      const bytes = new Uint8Array(await request.arrayBuffer());
      if (sha256(bytes) !== oid) return new Response("", { status: 400 });
      this.#uploads.set(oid, bytes);
      return new Response();
    }
    for (const { files } of this.repositories) {
      for (const bytes of files.values()) {
        if (sha256(bytes) === oid) return withRange(request, bytes);
      }
    }
    return new Response("no such key", { status: 404 });
  }
}

/** Files that a page of a list has. */
const PAGE = 3;

/**
 * Files above this size are large: in LFS, and served by the content network.
 */
const LARGE = 10_000;

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes)
    .digest("hex");
}

/**
 * An answer that announces all of its body and closes the connection after some
 * bytes.
 */
export function cutOff(answer: Response, bytes: number): Response {
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      const whole = new Uint8Array(await answer.arrayBuffer());
      controller.enqueue(whole.slice(0, bytes));
      setTimeout(() => controller.close(), 20);
    },
  });
  const { status, headers } = answer;
  return new Response(body, { status, headers });
}

function pathInfo(path: string, bytes: Uint8Array) {
  const { length: size } = bytes;
  const lfs = { oid: sha256(bytes), size, pointerSize: 134 };
  return {
    type: "file",
    path,
    size,
    oid: gitHash(bytes),
    ...(size > LARGE && { lfs }),
  };
}

function withRange(
  request: Request,
  bytes: Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Response {
  const etag = `"${bytes.length > LARGE ? sha256(bytes) : gitHash(bytes)}"`;
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get("range") ?? "");
  const begin = Number(range?.[1] ?? 0);
  const end = range?.[2] ? Number(range[2]) + 1 : bytes.length;
  return new Response(bytes.slice(begin, end), {
    status: range === null ? 200 : 206,
    headers: {
      ...headers,
      etag,
      "accept-ranges": "bytes",
      "content-length": String(end - begin),
      ...(range && {
        "content-range": `bytes ${begin}-${end - 1}/${bytes.length}`,
      }),
    },
  });
}

function redirect(
  status: number,
  location: string,
  headers: Record<string, string>,
): Response {
  return new Response(null, { status, headers: { ...headers, location } });
}

function failure(status: number, code: string, error: string): Response {
  return Response.json({ error }, {
    status,
    headers: { "x-error-code": code, "x-error-message": error },
  });
}
