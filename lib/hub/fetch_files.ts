import {
  askCommit,
  askFiles,
  type FilesRequest,
  type HubAccess,
} from "./ask_hub.ts";
import { type Content, download, type DownloadOptions } from "./download.ts";
import { explainFileError, HubError } from "./hub_error.ts";
import { hubFetch, PATIENCE, type Patience } from "./hub_fetch.ts";
import { RepositoryCache } from "./repository_cache.ts";
import type { HubSettings } from "./settings.ts";

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
