import { explainWriteFault } from "../pypi/remedied_error.ts";
import { download } from "./download.ts";
import { HubApi } from "./hub_api.ts";
import {
  isCommit,
  type Repository,
  RepositoryCache,
} from "./repository_cache.ts";
import { type HubOptions, RemediedError, RETRY_POLICY } from "./requests.ts";

/** A repository at a revision. */
interface RevisionRequest {
  readonly repository: Repository;
  /** Branch, tag or commit. */
  readonly revision: string;
}

/** Request for files of a repository. */
interface FilesRequest extends RevisionRequest {
  readonly required: readonly string[];
  /** Fetched if the repository has them. */
  readonly optional?: readonly string[];
}

export interface FetchOptions extends HubOptions {
  /** Called with the bytes present, and the total of all files to fetch. */
  readonly onProgress?: (bytes: number, total: number) => void;
}

/** A commit of a repository. */
interface RepositoryCommit {
  /** The commit to which the revision pointed. */
  readonly commit: string;
  /** Name and commit for a log, and that a branch or tag stays at it. */
  readonly title: string;
}

/** Files of a commit in the hub's cache. */
export interface FetchedFiles extends RepositoryCommit {
  /** Paths in the cache by those in the repository. */
  readonly files: ReadonlyMap<string, string>;
}

/** The paths of all files of a commit. */
export interface ListedRepository extends RepositoryCommit {
  readonly paths: readonly string[];
}

/**
 * Fetches files of a repository into the hub's cache.
 *
 * A branch stays at the commit that the cache has for it, also when files of
 * that commit are fetched later. If the cache has all the files, the network is
 * not used. Files whose content does not match their hash are fetched again.
 *
 * @throws {RemediedError}
 */
export async function fetchFiles(
  request: FilesRequest,
  options: FetchOptions,
): Promise<FetchedFiles> {
  const { settings: { cache: folder, offline }, log } = options;
  const { repository, revision, required, optional = [] } = request;
  const cache = new RepositoryCache(folder, repository);
  try {
    const commit = cache.commitOf(revision);
    const files = new Map<string, string>();
    let isRight = true;
    for (const path of [...required, ...optional]) {
      const file = commit && cache.find(commit, path);
      if (!commit || !file) {
        if (file === false && !required.includes(path)) continue;
        isRight = false;
        if (offline && (!commit || required.includes(path))) {
          throw notCached(request, folder, `"${path}"`);
        }
        continue;
      }
      files.set(path, file);
      const state = await cache.check(commit, path);
      if (state === "right") continue;
      isRight = false;
      const title = `"${path}" of "${repository.name}"`;
      if (state === "wrong" && offline) {
        throw new RemediedError(
          `${title} in the hub's cache "${folder}" does not match its hash, and HF_HUB_OFFLINE is set`,
          "Unset HF_HUB_OFFLINE to fetch it again",
        );
      }
      if (state === "wrong") {
        log?.(`${title} in the hub's cache is damaged; replacing it`);
      } else if (offline) {
        log?.(`${title} is not verified: the cache has no hash of it`);
      }
    }
    return commit && (isRight || offline)
      ? { commit, files, title: commitTitle(request, commit) }
      : await fetchMissing(cache, commit, request, options);
  } catch (error) {
    throw explainWriteFault(error, folder, "HF_HUB_CACHE");
  }
}

/**
 * Lists the files of a repository, and finds the commit of its revision: for a
 * branch, the one that the cache has for it. If the cache has the list too, the
 * network is not used.
 *
 * @throws {RemediedError}
 */
export async function listRepository(
  request: RevisionRequest,
  options: FetchOptions,
): Promise<ListedRepository> {
  const { repository, revision } = request;
  const { cache: folder, offline } = options.settings;
  const cache = new RepositoryCache(folder, repository);
  try {
    const cachedCommit = cache.commitOf(revision);
    const listed = cachedCommit && cache.listing(cachedCommit);
    if (!listed && offline) {
      throw notCached(request, folder, "The list of files");
    }
    const api = new HubApi(repository, options);
    const commit = cachedCommit ?? await api.commitOf(revision);
    const paths = listed || await api.list(commit);
    if (!listed) {
      cache.setListing(commit, paths);
      cache.setCommit(revision, commit);
    }
    return { commit, paths, title: commitTitle(request, commit) };
  } catch (error) {
    throw explainWriteFault(error, folder, "HF_HUB_CACHE");
  }
}

/** Name and commit for a log, and that a branch or tag stays at it. */
function commitTitle(
  { repository: { name }, revision }: RevisionRequest,
  commit: string,
): string {
  const title = `${name} at commit ${commit}`;
  return isCommit(revision)
    ? title
    : `${title}, where "${revision}" was when it was first fetched; later runs stay at it`;
}

/** @param cachedCommit Commit that the cache has for the revision. */
async function fetchMissing(
  cache: RepositoryCache,
  cachedCommit: string | undefined,
  request: FilesRequest,
  options: FetchOptions,
): Promise<FetchedFiles> {
  const { retry = RETRY_POLICY, onProgress, signal } = options;
  const { repository, revision, required, optional = [] } = request;
  const api = new HubApi(repository, options);
  const commit = cachedCommit ?? await api.commitOf(revision);
  const contents = await api.contents(commit, required, optional);
  const total = contents.values().reduce((sum, { size }) => sum + size, 0);
  const files = new Map<string, string>();
  let before = 0;
  for (const [path, content] of contents) {
    const { hash } = content;
    // Another process may fetch it meanwhile.
    using _lock = await cache.lock(hash);
    const file = await cache.link(
      hash,
      commit,
      path,
      (blob) =>
        download(content, blob, {
          retry,
          signal,
          onBytes: (bytes) => onProgress?.(before + bytes, total),
        }),
    );
    files.set(path, file);
    before += content.size;
    onProgress?.(before, total);
  }
  for (const path of optional) {
    if (!files.has(path)) cache.setAbsent(commit, path);
  }
  cache.setCommit(revision, commit);
  return { commit, files, title: commitTitle(request, commit) };
}

function notCached(
  { repository: { type, name }, revision }: RevisionRequest,
  cache: string,
  missing: string,
): RemediedError {
  const what = type === "dataset" ? `--repo-type dataset ${name}` : name;
  return new RemediedError(
    `${missing} of "${name}", revision "${revision}", is not in the hub's cache "${cache}", and HF_HUB_OFFLINE is set`,
    `Unset HF_HUB_OFFLINE, or fill the cache with network access: hf download ${what}`,
  );
}
