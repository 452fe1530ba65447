import {
  datasetInfo,
  HubApiError,
  listFiles,
  modelInfo,
  type PathInfo,
  pathsInfo,
} from "@huggingface/hub";
import {
  isCommit,
  type Repository,
  RepositoryCache,
} from "./repository_cache.ts";
import type { HubSettings } from "./settings.ts";
import {
  type Content,
  download,
  type DownloadOptions,
  explainFileError,
  HubError,
  hubFetch,
  PATIENCE,
  type Patience,
} from "./transfer.ts";

/** Request for files of a repository. */
interface FilesRequest {
  readonly repository: Repository;
  /** Branch, tag or commit. */
  readonly revision: string;
  readonly required: readonly string[];
  /** Fetched if the repository has them. */
  readonly optional?: readonly string[];
}

interface FetchOptions {
  readonly settings: HubSettings;
  readonly patience?: Patience;
  /** Called with the bytes present, and the total of all files to fetch. */
  readonly onProgress?: (bytes: number, total: number) => void;
  /** Called with a sentence for the user. */
  readonly log?: (line: string) => void;
  /** Clock, in milliseconds since 1970. */
  readonly now?: () => number;
  readonly signal?: AbortSignal | undefined;
}

/** Files of a repository in the cache. */
interface FetchedFiles {
  readonly commit: string;
  /** Path in the cache by path in the repository. */
  readonly files: ReadonlyMap<string, string>;
}

/**
 * Fetches files of a repository into the hub's cache.
 *
 * If the cache has the revision with all these files, the network is not used:
 * a branch stays at the commit that was fetched first. Files of the cache whose
 * content does not match their hash are fetched again.
 *
 * @throws {HubError}
 */
export async function fetchFiles(
  request: FilesRequest,
  options: FetchOptions,
): Promise<FetchedFiles> {
  const { settings, signal, patience = PATIENCE, now, log } = options;
  const cache = new RepositoryCache(settings.cache, request.repository, now);
  const { found, states } = await findFiles(cache, request);
  const all = (state: State) => [...states].filter(([, it]) => it === state);
  const title = (path: string) => `"${path}" of "${request.repository.name}"`;
  try {
    if (settings.offline) {
      const [missing] = all("missing").filter(([path]) =>
        request.required.includes(path)
      );
      if (missing) throw notCached(request, settings, `"${missing[0]}"`);
      for (const [path] of all("wrong")) throw damaged(title(path), settings);
      for (const [path] of all("unknown")) {
        log?.(
          `${title(path)} is not verified: the cache has no hash of it`,
        );
      }
      return found;
    }
    if ([...states.values()].every((it) => it === "right" || it === "absent")) {
      return found;
    }
    for (const [path] of all("wrong")) {
      log?.(
        `${title(path)} in the hub's cache is damaged; replacing it`,
      );
    }
    return await fetchMissing(cache, request, {
      ...options,
      patience,
      ask: hubFetch("answer", settings, patience, signal),
      load: hubFetch("content", settings, patience, signal),
    });
  } catch (error) {
    throw explainFileError(error, settings.cache);
  }
}

/** Maximum number of files of a repository that are listed. */
const MAX_FILES = 100_000;

/**
 * Lists the files of a repository, and finds the commit of its revision.
 *
 * If the cache knows both, the network is not used: a branch stays at the
 * commit that was fetched first.
 *
 * @throws {HubError}
 */
export async function listRepository(
  { repository, revision }: Pick<FilesRequest, "repository" | "revision">,
  options: FetchOptions,
): Promise<{ readonly commit: string; readonly paths: readonly string[] }> {
  const { settings, signal, patience = PATIENCE, now } = options;
  const cache = new RepositoryCache(settings.cache, repository, now);
  try {
    const known = await cache.commitOf(revision);
    const listed = known && await cache.listing(known);
    if (listed) return { commit: known, paths: listed };
    if (settings.offline) {
      const request = { repository, revision, required: [] };
      throw notCached(request, settings, "The list of files");
    }
    const ask = hubFetch("answer", settings, patience, signal);
    const hub = hubAccess(repository, settings, ask);
    const commit = known ??
      await askCommit({ repository, revision, required: [] }, hub);
    const paths: string[] = [];
    try {
      const entries = listFiles({ ...hub, recursive: true, revision: commit });
      for await (const { type, path } of entries) {
        if (type !== "file") continue;
        if (!isPath(path)) {
          throw malformed(hub, `gives the invalid path "${path}" of a file`);
        }
        if (paths.push(path) > MAX_FILES) {
          throw new HubError(
            "refused",
            `"${repository.name}" has more than ${MAX_FILES} files`,
            "Download the files that you need, and use their paths",
          );
        }
      }
    } catch (error) {
      if (!isNotFound(error)) throw explainAnswer(error, hub);
      throw noCommit(repository, commit, hub, error);
    }
    await cache.setListing(commit, paths);
    await cache.setCommit(revision, commit);
    return { commit, paths };
  } catch (error) {
    throw explainFileError(error, settings.cache);
  }
}

/** Whether a path of the hub stays below the folder that it is joined to. */
function isPath(path: unknown): path is string {
  return typeof path === "string" && !/[\\\0\n]/.test(path) &&
    path.split("/").every((part) => part !== "" && !/^\.\.?$/.test(part));
}

/** What the cache has of a file. `absent`: the commit does not have it. */
type State = "right" | "wrong" | "unknown" | "absent" | "missing";

/** Files in the cache, and the state of each that was requested. */
async function findFiles(
  cache: RepositoryCache,
  { revision, required, optional = [] }: FilesRequest,
) {
  const commit = await cache.commitOf(revision) ?? "";
  const files = new Map<string, string>();
  const states = new Map<string, State>();
  for (const path of [...required, ...optional]) {
    const file = commit && await cache.find(commit, path);
    if (file) {
      files.set(path, file);
      states.set(path, await cache.check(commit, path));
    } else {
      const absent = file === false && !required.includes(path);
      states.set(path, absent ? "absent" : "missing");
    }
  }
  return { found: { commit, files }, states };
}

async function fetchMissing(
  cache: RepositoryCache,
  request: FilesRequest,
  options: FetchOptions & {
    readonly patience: Patience;
    readonly ask: typeof fetch;
    readonly load: typeof fetch;
  },
): Promise<FetchedFiles> {
  const { repository, revision, optional = [] } = request;
  const { settings, onProgress, ask, load } = options;
  const hub = hubAccess(repository, settings, ask);
  const commit = await askCommit(request, hub);
  const present = await askFiles(request, commit, hub, load);
  const total = present.reduce((sum, { content }) => sum + content.size, 0);
  const files = new Map<string, string>();
  let before = 0;
  for (const { path, content } of present) {
    const file = await fetchContent(cache, content, commit, path, {
      ...options,
      onBytes: (bytes) => onProgress?.(before + bytes, total),
    });
    files.set(path, file);
    before += content.size;
    onProgress?.(before, total);
  }
  for (const path of optional) {
    if (!files.has(path)) await cache.setAbsent(commit, path);
  }
  await cache.setCommit(revision, commit);
  return { commit, files };
}

/** Downloads a content unless it is in the cache, or another process downloads it meanwhile; returns the file. */
async function fetchContent(
  cache: RepositoryCache,
  content: Content,
  commit: string,
  path: string,
  options: DownloadOptions,
): Promise<string> {
  using _lock = await cache.lock(content.hash);
  const cached = await cache.take(content.hash, commit, path);
  if (cached !== undefined) return cached;
  await download(content, cache.blob(content.hash), options);
  const file = await cache.take(content.hash, commit, path);
  if (file !== undefined) return file;
  throw new HubError(
    "damaged",
    `The file ${content.title} changed in the hub's cache while it was fetched`,
    "Try again; if it fails again, check the disk of the cache",
  );
}

function damaged(title: string, { cache }: HubSettings): HubError {
  return new HubError(
    "damaged",
    `${title} in the hub's cache "${cache}" does not match its hash, and HF_HUB_OFFLINE is set`,
    "Unset HF_HUB_OFFLINE to fetch it again",
  );
}

function notCached(
  { repository: { type, name }, revision }: FilesRequest,
  { cache }: HubSettings,
  missing: string,
): HubError {
  return new HubError(
    "offline",
    `${missing} of "${name}", revision "${revision}", is not in the hub's cache "${cache}", and HF_HUB_OFFLINE is set`,
    `Unset HF_HUB_OFFLINE, or fill the cache with network access: hf download${
      type === "dataset" ? " --repo-type dataset" : ""
    } ${name}`,
  );
}

/** Common parameters of the functions of `@huggingface/hub`. */
interface HubAccess {
  readonly repo: Repository;
  readonly hubUrl: string;
  readonly fetch: typeof fetch;
  readonly accessToken?: string;
}

function hubAccess(
  repo: Repository,
  { endpoint, token }: HubSettings,
  ask: typeof fetch,
): HubAccess {
  return {
    repo,
    hubUrl: endpoint,
    fetch: ask,
    ...(token && { accessToken: token }),
  };
}

/** Asks the hub for the commit of a revision. */
async function askCommit(
  { repository: { type, name }, revision }: FilesRequest,
  hub: HubAccess,
): Promise<string> {
  if (isCommit(revision)) return revision;
  const question = {
    ...hub,
    name,
    revision,
    additionalFields: ["sha" as const],
  };
  try {
    const { sha } = type === "model"
      ? await modelInfo(question)
      : await datasetInfo(question);
    if (isCommit(sha)) return sha;
    throw malformed(hub, `gives the invalid commit "${sha}" for "${name}"`);
  } catch (error) {
    if (!isNotFound(error)) throw explainAnswer(error, hub);
    throw new HubError(
      "not-found",
      `The hub at ${hub.hubUrl} has no ${type} "${name}" with a revision "${revision}"`,
      `Check the name and the revision${
        type === "model" ? `; for a local folder, use "./${name}"` : ""
      }`,
      { cause: error },
    );
  }
}

/** Asks the hub for size and hash of the files. */
async function askFiles(
  { repository, required, optional = [] }: FilesRequest,
  commit: string,
  hub: HubAccess,
  load: typeof fetch,
): Promise<{ path: string; content: Content }[]> {
  const paths = [...required, ...optional];
  let infos: PathInfo[];
  try {
    infos = await pathsInfo({ ...hub, paths, revision: commit });
  } catch (error) {
    if (!isNotFound(error)) throw explainAnswer(error, hub);
    throw noCommit(repository, commit, hub, error);
  }
  const present = infos.filter(({ type, path }) =>
    type === "file" && paths.includes(path)
  );
  const missing = required.filter((path) =>
    !present.some((info) => info.path === path)
  );
  if (missing.length > 0) throw missingFiles(repository, commit, missing);
  return present.map((info) => ({
    path: info.path,
    content: contentOf(info, repository, commit, hub, load),
  }));
}

function contentOf(
  { path, size, lfs, oid }: PathInfo,
  repository: Repository,
  commit: string,
  hub: HubAccess,
  load: typeof fetch,
): Content {
  const { type, name } = repository;
  const title = `"${path}" of "${name}"`;
  const hash = lfs?.oid ?? oid ?? "";
  if (!(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hash)) {
    throw malformed(hub, `gives the invalid hash "${hash}" for ${title}`);
  }
  if (!Number.isSafeInteger(size) || size < 0) {
    throw malformed(hub, `gives the invalid size "${size}" for ${title}`);
  }
  return {
    title,
    size,
    hash,
    // Plain HTTP instead of Xet: it resumes at any byte and works with every
    // mirror. The library's own stream hides why it fails.
    async open(from) {
      const folder = type === "dataset" ? "datasets/" : "";
      const { status, body } = await load(
        `${hub.hubUrl}/${folder}${name}/resolve/${commit}/${encodeURI(path)}`,
        {
          headers: {
            ...(hub.accessToken &&
              { authorization: `Bearer ${hub.accessToken}` }),
            ...(from > 0 && { range: `bytes=${from}-${size - 1}` }),
          },
        },
      );
      if (status !== 404) return body ?? new Blob().stream();
      await body?.cancel();
      throw missingFiles(repository, commit, [path]);
    },
  };
}

function isNotFound(error: unknown): boolean {
  return error instanceof HubApiError && error.statusCode === 404;
}

/** Converts what the library throws on an answer that is not the hub's to a {@linkcode HubError}. */
function explainAnswer(error: unknown, hub: HubAccess): unknown {
  const isInvalid = error instanceof SyntaxError ||
    error instanceof TypeError ||
    error instanceof Error && error.message.startsWith("malformed response");
  return isInvalid
    ? malformed(hub, `gives an invalid answer: ${error.message}`)
    : error;
}

function malformed({ hubUrl }: HubAccess, what: string): HubError {
  return new HubError(
    "damaged",
    `The hub at ${hubUrl} ${what}`,
    "Check that HF_ENDPOINT is the address of a hub",
  );
}

function noCommit(
  { name }: Repository,
  commit: string,
  { hubUrl }: HubAccess,
  cause: unknown,
): HubError {
  return new HubError(
    "not-found",
    `The hub at ${hubUrl} has no commit ${commit} of "${name}"`,
    "Check the name and the commit",
    { cause },
  );
}

function missingFiles(
  { name }: Repository,
  commit: string,
  paths: readonly string[],
): HubError {
  return new HubError(
    "not-found",
    `"${name}" has no ${paths.map((path) => `"${path}"`).join(", ")} (commit ${
      commit.slice(0, 8)
    })`,
    "Use a repository or a revision that has the file",
  );
}
