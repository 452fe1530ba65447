import {
  datasetInfo,
  downloadFile,
  HubApiError,
  modelInfo,
  type PathInfo,
  pathsInfo,
} from "@huggingface/hub";
import type { Content } from "./download.ts";
import { HubError } from "./hub_error.ts";
import { isCommit, type Repository } from "./repository_cache.ts";

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
