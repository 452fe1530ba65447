import {
  datasetInfo,
  downloadFile,
  HubApiError,
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
 * a branch stays at the commit that was fetched first.
 *
 * @throws {HubError}
 */
export async function fetchFiles(
  request: FilesRequest,
  options: FetchOptions,
): Promise<FetchedFiles> {
  const { settings, patience = PATIENCE, signal } = options;
  const cache = new RepositoryCache(settings.cache, request.repository);
  const { found, complete, missing } = await findFiles(cache, request);
  if (complete) return found;
  if (settings.offline) {
    if (missing === undefined) return found;
    throw notCached(request, settings, missing);
  }
  try {
    const fetch = hubFetch(settings, patience, signal);
    return await fetchMissing(cache, request, { ...options, patience, fetch });
  } catch (error) {
    throw explainFileError(error, settings.cache);
  }
}

/** Files in the cache, and the first required one that is missing. */
async function findFiles(
  cache: RepositoryCache,
  { revision, required, optional = [] }: FilesRequest,
) {
  const commit = await cache.commitOf(revision) ?? "";
  const files = new Map<string, string>();
  let missing: string | undefined;
  let unknown = false;
  for (const path of [...required, ...optional]) {
    const file = commit && await cache.find(commit, path);
    if (file) files.set(path, file);
    else if (required.includes(path)) missing ??= path;
    else if (file === undefined) unknown = true;
  }
  const complete = missing === undefined && !unknown;
  return { found: { commit, files }, complete, missing };
}

async function fetchMissing(
  cache: RepositoryCache,
  request: FilesRequest,
  options: FetchOptions & { patience: Patience; fetch: typeof fetch },
): Promise<FetchedFiles> {
  const { repository, revision, optional = [] } = request;
  const { settings, onProgress } = options;
  const hub: HubAccess = {
    repo: repository,
    hubUrl: settings.endpoint,
    fetch: options.fetch,
    ...(settings.token && { accessToken: settings.token }),
  };
  const commit = await askCommit(request, hub);
  const present = await askFiles(request, commit, hub);
  const total = present.reduce((sum, { content }) => sum + content.size, 0);
  const files = new Map<string, string>();
  let before = 0;
  for (const { path, content } of present) {
    await fetchContent(cache, content, {
      ...options,
      onBytes: (bytes) => onProgress?.(before + bytes, total),
    });
    files.set(path, await cache.link(content.hash, commit, path));
    before += content.size;
    onProgress?.(before, total);
  }
  for (const path of optional) {
    if (!files.has(path)) await cache.setAbsent(commit, path);
  }
  await cache.setCommit(revision, commit);
  return { commit, files };
}

/** Downloads a content unless it is in the cache, or another process downloads it meanwhile. */
async function fetchContent(
  cache: RepositoryCache,
  content: Content,
  options: DownloadOptions,
): Promise<void> {
  using _lock = await cache.lock(content.hash);
  if (await cache.hasBlob(content.hash, content.size)) return;
  await download(content, cache.blob(content.hash), options);
}

function notCached(
  { repository: { type, name }, revision }: FilesRequest,
  { cache }: HubSettings,
  missing: string,
): HubError {
  return new HubError(
    "offline",
    `"${missing}" of "${name}", revision "${revision}", is not in the hub's cache "${cache}", and HF_HUB_OFFLINE is set`,
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
    if (!isNotFound(error)) throw error;
    throw new HubError(
      "not-found",
      `The hub at ${hub.hubUrl} has no ${type} "${name}" with a revision "${revision}"`,
      `Check the name and the revision; for a local folder, use "./${name}"`,
      { cause: error },
    );
  }
}

/** Asks the hub for size and hash of the files. */
async function askFiles(
  { repository, required, optional = [] }: FilesRequest,
  commit: string,
  hub: HubAccess,
): Promise<{ path: string; content: Content }[]> {
  const paths = [...required, ...optional];
  let infos: PathInfo[];
  try {
    infos = await pathsInfo({ ...hub, paths, revision: commit });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new HubError(
      "not-found",
      `The hub at ${hub.hubUrl} has no commit ${commit} of "${repository.name}"`,
      "Check the name and the commit",
      { cause: error },
    );
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
    content: contentOf(info, repository, commit, hub),
  }));
}

function contentOf(
  { path, size, lfs, oid }: PathInfo,
  repository: Repository,
  commit: string,
  hub: HubAccess,
): Content {
  const title = `"${path}" of "${repository.name}"`;
  const hash = lfs?.oid ?? oid ?? "";
  if (!(lfs ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(hash)) {
    throw malformed(hub, `gives the invalid hash "${hash}" for ${title}`);
  }
  return {
    title,
    size,
    algorithm: lfs ? "sha256" : "git",
    hash,
    async open(from) {
      // Plain HTTP instead of Xet: it resumes at any byte and works with every mirror.
      const options = { ...hub, path, revision: commit, xet: false };
      const blob = await downloadFile(options);
      if (blob === null) throw missingFiles(repository, commit, [path]);
      return blob.slice(from).stream();
    },
  };
}

function isNotFound(error: unknown): boolean {
  return error instanceof HubApiError && error.statusCode === 404;
}

function malformed({ hubUrl }: HubAccess, what: string): HubError {
  return new HubError(
    "damaged",
    `The hub at ${hubUrl} ${what}`,
    "Check that HF_ENDPOINT is the address of a hub",
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
