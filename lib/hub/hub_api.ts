import {
  datasetInfo,
  HubApiError,
  listFiles,
  modelInfo,
  type PathInfo,
  pathsInfo,
} from "@huggingface/hub";
import type { RemoteFile } from "./download.ts";
import { hubRemedy, quoted } from "./model_source.ts";
import { isCommit, type Repository } from "./repository_cache.ts";
import { hubFetch, type HubOptions, RemediedError } from "./requests.ts";
import type { HubSettings } from "./settings.ts";

/** Maximum number of files of a repository that are listed. */
const MAX_FILES = 100_000;

/**
 * What the hub knows of a repository. Its methods throw
 * {@linkcode RemediedError}s.
 */
export class HubApi {
  readonly #settings: HubSettings;
  readonly #load: typeof fetch;
  readonly #signal: AbortSignal | undefined;
  /** Common parameters of the functions of `@huggingface/hub`. */
  readonly #access;

  constructor(
    private readonly repository: Repository,
    options: HubOptions,
  ) {
    this.#settings = options.settings;
    this.#signal = options.signal;
    const { endpoint, token } = options.settings;
    this.#load = hubFetch("content", options);
    this.#access = {
      repo: repository,
      hubUrl: endpoint,
      fetch: hubFetch("answer", options),
      ...(token && { accessToken: token }),
    };
  }

  /** The commit to which a branch or tag points now. */
  async commitOf(revision: string): Promise<string> {
    const { type, name } = this.repository;
    const question = {
      ...this.#access,
      name,
      revision,
      additionalFields: ["sha" as const],
    };
    try {
      const { sha } = type === "model"
        ? await modelInfo(question)
        : await datasetInfo(question);
      if (isCommit(sha)) return sha;
      throw this.#malformed(`gives the invalid commit "${sha}" for "${name}"`);
    } catch (error) {
      if (!isNotFound(error)) throw this.#explain(error);
      const folder = type === "model"
        ? `; for a local folder, use "./${name}"`
        : "";
      throw new RemediedError(
        `The hub at ${this.#settings.endpoint} has no ${type} "${name}" with a revision "${revision}"`,
        `Check the name and the revision${folder}`,
        { cause: error },
      );
    }
  }

  /** Paths of all files of a commit. */
  async list(commit: string): Promise<string[]> {
    const paths: string[] = [];
    try {
      const entries = listFiles({
        ...this.#access,
        recursive: true,
        revision: commit,
      });
      for await (const { type, path } of entries) {
        if (type !== "file") continue;
        if (!isPath(path)) {
          throw this.#malformed(`gives the invalid path "${path}" of a file`);
        }
        if (paths.push(path) > MAX_FILES) {
          throw new RemediedError(
            `"${this.repository.name}" has more than ${MAX_FILES} files`,
            "Download the files that you need, and use their paths",
          );
        }
      }
    } catch (error) {
      throw this.#explain(error, commit);
    }
    return paths;
  }

  /**
   * Size and hash of files of a commit, by path in the order of the hub's
   * answer; optional files that the commit does not have are left out.
   */
  async contents(
    commit: string,
    required: readonly string[],
    optional: readonly string[],
  ): Promise<ReadonlyMap<string, RemoteFile>> {
    const paths = [...required, ...optional];
    let infos: PathInfo[];
    try {
      infos = await pathsInfo({ ...this.#access, paths, revision: commit });
    } catch (error) {
      throw this.#explain(error, commit);
    }
    const present = new Map(
      infos.filter(({ type, path }) => type === "file" && paths.includes(path))
        .map((info) => [info.path, info]),
    );
    const missing = required.filter((path) => !present.has(path));
    if (missing.length > 0) throw this.#missingFiles(commit, missing);
    return new Map(
      [...present].map(([path, info]) => [path, this.#content(commit, info)]),
    );
  }

  #content(commit: string, { path, size, lfs, oid }: PathInfo): RemoteFile {
    const { type, name } = this.repository;
    const title = `"${path}" of "${name}"`;
    const hash = lfs?.oid ?? oid ?? "";
    if (!(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hash)) {
      throw this.#malformed(`gives the invalid hash "${hash}" for ${title}`);
    }
    if (!Number.isSafeInteger(size) || size < 0) {
      throw this.#malformed(`gives the invalid size "${size}" for ${title}`);
    }
    const folder = type === "dataset" ? "datasets/" : "";
    const parts = path.split("/").map(encodeURIComponent);
    const { endpoint, token } = this.#settings;
    const url = [endpoint + `/${folder}${name}/resolve`, commit, ...parts]
      .join("/");
    return {
      title,
      size,
      hash,
      // Plain HTTP instead of Xet: it resumes at any byte and works with every
      // mirror. The library's own stream hides why it fails.
      open: async (from) => {
        const { status, body } = await this.#load(url, {
          headers: {
            ...(token && { authorization: `Bearer ${token}` }),
            ...(from > 0 && { range: `bytes=${from}-${size - 1}` }),
          },
        });
        if (status !== 404) {
          return {
            from: status === 206 ? from : 0,
            bytes: body ?? new Blob().stream(),
          };
        }
        await body?.cancel();
        throw this.#missingFiles(commit, [path]);
      },
    };
  }

  /**
   * Converts what the library throws if there is no such commit, or an answer
   * is not one of the hub; returns other errors unchanged.
   */
  #explain(error: unknown, commit?: string): unknown {
    if (commit !== undefined && isNotFound(error)) {
      const { type, name } = this.repository;
      return new RemediedError(
        `The hub at ${this.#settings.endpoint} has no commit ${commit} of "${name}"`,
        `Check the name and the commit; for a branch that was rewritten, delete what the cache has of it: hf cache rm ${type}/${name}`,
        { cause: error },
      );
    }
    const isFinal = error instanceof RemediedError ||
      error instanceof HubApiError || this.#signal?.aborted === true;
    // All other errors come from the library, which could not read an answer.
    return isFinal || !(error instanceof Error)
      ? error
      : this.#malformed(`gives an invalid answer: ${error.message}`);
  }

  #malformed(what: string): RemediedError {
    return new RemediedError(
      `The hub at ${this.#settings.endpoint} ${what}`,
      "Check that HF_ENDPOINT is the address of a hub",
    );
  }

  #missingFiles(commit: string, paths: readonly string[]): RemediedError {
    const { type, name } = this.repository;
    return new RemediedError(
      `"${name}" has no ${quoted(paths)} (commit ${commit.slice(0, 8)})`,
      type === "model"
        ? hubRemedy(name, paths)
        : "Use a repository or a revision that has the file",
    );
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof HubApiError && error.statusCode === 404;
}

/** Whether a path of the hub stays below the folder that it is joined to. */
function isPath(path: unknown): path is string {
  return typeof path === "string" && !/[\\\0\n]/.test(path) &&
    path.split("/").every((part) => part !== "" && !/^\.\.?$/.test(part));
}
