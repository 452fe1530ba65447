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

export interface FetchOptions {
  readonly settings: HubSettings;
  readonly patience?: Patience;
  /** Told the bytes that are there, and those of all files that must be fetched. */
  readonly onProgress?: (bytes: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Files of a repository, in the cache. */
export interface FetchedFiles {
  readonly commit: string;
  /** Absolute path by path in the repository. */
  readonly files: ReadonlyMap<string, string>;
}

/**
 * Makes sure that files of a repository are in the hub's cache.
 *
 * A revision that is in the cache with all these files is taken from there
 * and the network left alone, so a branch is followed only until it is first
 * fetched.
 *
 * @throws {HubError} With the remedy.
 */
export async function fetchFiles(
  request: FilesRequest,
  options: FetchOptions,
): Promise<FetchedFiles> {
  const { settings, patience = PATIENCE, signal } = options;
  const cache = new RepositoryCache(settings.cache, request.repository);
  const { found, complete, lacking } = await findFiles(cache, request);
  if (complete) return found;
  if (settings.offline) {
    if (lacking === undefined) return found;
    throw notCached(request, settings, lacking);
  }
  try {
    const fetch = hubFetch(settings, patience, signal);
    return await fetchMissing(cache, request, { ...options, patience, fetch });
  } catch (error) {
    throw explainFileError(error, settings.cache);
  }
}

/** What the cache has of the files, and the first required one that it lacks. */
async function findFiles(
  cache: RepositoryCache,
  { revision, required, optional = [] }: FilesRequest,
) {
  const commit = await cache.commitOf(revision) ?? "";
  const files = new Map<string, string>();
  let lacking: string | undefined;
  let unknown = false;
  for (const path of [...required, ...optional]) {
    const file = commit && await cache.find(commit, path);
    if (file) files.set(path, file);
    else if (required.includes(path)) lacking ??= path;
    else if (file === undefined) unknown = true;
  }
  const complete = lacking === undefined && !unknown;
  return { found: { commit, files }, complete, lacking };
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

/** Fetches a content unless it is there, or another process is quicker. */
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
  lacking: string,
): HubError {
  return new HubError(
    "offline",
    `"${lacking}" of "${name}", revision "${revision}", is not in the hub's cache "${cache}", and HF_HUB_OFFLINE forbids to fetch it`,
    `Unset HF_HUB_OFFLINE, or fill the cache where there is a network: hf download${
      type === "dataset" ? " --repo-type dataset" : ""
    } ${name}`,
  );
}

/** Files of a repository to be had. */
export interface FilesRequest {
  readonly repository: Repository;
  /** Branch, tag or commit. */
  readonly revision: string;
  readonly required: readonly string[];
  /** Taken if the repository has them. */
  readonly optional?: readonly string[];
}

/** What the functions of `@huggingface/hub` need to know. */
export interface HubAccess {
  readonly repo: Repository;
  readonly hubUrl: string;
  readonly fetch: typeof fetch;
  readonly accessToken?: string;
}

/** Asks the hub which commit a revision stands for. */
export async function askCommit(
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
    throw malformed(hub, `names "${sha}" as the commit of "${name}"`);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new HubError(
      "not-found",
      `The hub at ${hub.hubUrl} has no ${type} "${name}" with a revision "${revision}"`,
      `Check the name and the revision; write a local folder as "./${name}"`,
      { cause: error },
    );
  }
}

/** Asks the hub what it has of the files. */
export async function askFiles(
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
  const lacking = required.filter((path) =>
    !present.some((info) => info.path === path)
  );
  if (lacking.length > 0) throw lacksFiles(repository, commit, lacking);
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
    throw malformed(hub, `gives the hash "${hash}" for ${title}`);
  }
  return {
    title,
    size,
    algorithm: lfs ? "sha256" : "git",
    hash,
    async open(from) {
      // Not by the Xet protocol: plain HTTP resumes at any byte, and every mirror speaks it.
      const options = { ...hub, path, revision: commit, xet: false };
      const blob = await downloadFile(options);
      if (blob === null) throw lacksFiles(repository, commit, [path]);
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
    `The hub at ${hubUrl} ${what}, which cannot be`,
    "Check that HF_ENDPOINT names a hub",
  );
}

function lacksFiles(
  { name }: Repository,
  commit: string,
  paths: readonly string[],
): HubError {
  return new HubError(
    "not-found",
    `"${name}" has no ${paths.map((path) => `"${path}"`).join(", ")} (commit ${
      commit.slice(0, 8)
    })`,
    "Name a repository or a revision that has",
  );
}
