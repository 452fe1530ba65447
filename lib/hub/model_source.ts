import { existsSync } from "node:fs";
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

const MAKE_TOKENIZER =
  "Make it from the vocabulary: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)";

/** What a folder often holds instead of a file, and what helps. */
const INSTEAD: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "config.json": {
    "adapter_config.json":
      "This is an adapter, not a model: name the model that it was trained on",
  },
  "model.safetensors": {
    "model.safetensors.index.json":
      'The weights are in several files; save them as one: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER, max_shard_size="100GB")',
    "pytorch_model.bin":
      "The weights are a Python pickle; save them as safetensors: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)",
  },
  "tokenizer.json": {
    "vocab.txt": MAKE_TOKENIZER,
    "vocab.json": MAKE_TOKENIZER,
  },
};

/**
 * Finds the files of a model in a local folder.
 *
 * @returns Path of each file, by name.
 * @throws {SyntaxError} Naming the file that is not there, with the remedy.
 */
export function findModelFiles(
  folder: string,
  required: readonly string[],
  optional: readonly string[],
): Map<string, string> {
  const lacking = required.find((file) => !existsSync(join(folder, file)));
  if (lacking !== undefined) {
    const [, advice] = Object.entries(INSTEAD[lacking] ?? {})
      .find(([file]) => existsSync(join(folder, file))) ?? [];
    throw new SyntaxError(
      `"${folder}" has no "${lacking}"\n${
        advice ??
          "Name a folder with config.json, model.safetensors and tokenizer.json, as save_pretrained() writes them"
      }`,
    );
  }
  return new Map(
    [...required, ...optional]
      .map((file) => [file, join(folder, file)] as const)
      .filter(([, path]) => existsSync(path)),
  );
}
