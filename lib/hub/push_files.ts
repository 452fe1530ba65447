import {
  createRepo,
  HubApiError,
  repoExists,
  uploadFiles,
} from "@huggingface/hub";
import { RemediedError } from "./requests.ts";
import type { HubSettings } from "./settings.ts";

/** Files to upload to a repository for models. */
interface Push {
  /** `OWNER/NAME`. */
  readonly repository: string;
  /** Contents by path in the repository. */
  readonly files: ReadonlyMap<string, Blob>;
  /** Whether a new repository is private; an existing one stays as it is. */
  readonly isPrivate: boolean;
  /** Message of the commit. */
  readonly title: string;
  /** Called before the upload, when the repository exists. */
  readonly onUpload: () => void;
}

/**
 * Uploads files as one commit to a repository for models, which is created if
 * it does not exist.
 *
 * @returns Address of the repository, and the commit
 * @throws {RemediedError} If the hub cannot be reached or refuses them.
 */
export async function pushFiles(
  { repository, files, isPrivate, title, onUpload }: Push,
  { endpoint, token, offline }: HubSettings,
  signal?: AbortSignal,
) {
  if (offline) {
    throw new RemediedError(
      `Cannot push to "${repository}" because HF_HUB_OFFLINE is set`,
      "Unset HF_HUB_OFFLINE",
    );
  }
  if (token === undefined) {
    throw new RemediedError(
      `Cannot push to "${repository}" without an access token`,
      "Set HF_TOKEN to a token with write access: https://huggingface.co/settings/tokens",
    );
  }
  const access = { hubUrl: endpoint, accessToken: token };
  const repo = { type: "model", name: repository } as const;
  try {
    await createRepo({
      repo,
      visibility: isPrivate ? "private" : "public",
      ...access,
    }).catch(async (error: unknown) => {
      const status = error instanceof HubApiError ? error.statusCode : 0;
      // A token may write to a repository without the right to create others.
      const exists = status === 409 ||
        status === 403 && await repoExists({ repo, ...access });
      if (!exists) throw error;
    });
    onUpload();
    const { commit } = await uploadFiles({
      repo,
      files: [...files].map(([path, content]) => ({ path, content })),
      commitTitle: title,
      ...access,
      ...(signal && { abortSignal: signal }),
    }) ?? {};
    if (commit === undefined) {
      throw new RemediedError(
        `The hub did not confirm the commit to "${repository}"`,
        "Check the page of the repository, and push again if the files are missing",
      );
    }
    return { url: `${endpoint}/${repository}`, commit: commit.oid };
  } catch (error) {
    if (error instanceof HubApiError) {
      const { statusCode, message } = error;
      const denied = statusCode === 401 || statusCode === 403;
      throw new RemediedError(
        `The hub refuses the push to "${repository}" (status ${statusCode}): ${message}`,
        denied
          ? "Set HF_TOKEN to a token with write access to the owner's repositories"
          : "Correct the problem, and push again",
        { cause: error },
      );
    }
    // Those of fetch() have a cause, other than bugs.
    if (error instanceof TypeError && error.cause !== undefined) {
      throw new RemediedError(
        `Cannot reach the hub at "${endpoint}": ${error.message}`,
        "Check the network and HF_ENDPOINT, and push again",
        { cause: error },
      );
    }
    throw error;
  }
}
