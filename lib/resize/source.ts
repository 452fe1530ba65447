import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fetchFiles, listRepository } from "../hub/fetch_files.ts";
import { expandHome } from "../hub/model_source.ts";
import { hubSettings } from "../hub/settings.ts";

/** The files of an adapter on this machine. */
export interface AdapterFiles {
  /** The safetensors file. */
  readonly weights: string;
  /** PEFT's `adapter_config.json`; undefined for a file of another format. */
  readonly config: string | undefined;
  /** Other files of a PEFT folder, by name: tokenizer, model card, template. */
  readonly others: ReadonlyMap<string, string>;
}

/** How to fetch from the hub. */
export interface SourceOptions {
  readonly signal?: AbortSignal | undefined;
  readonly log?: (line: string) => void;
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

/** Names of files beside a PEFT adapter that stay true when it is resized: model card, classes, tokenizer. */
const KEPT =
  /^(README\.md|classes\.json|(tokenizer|special_tokens|added_tokens|vocab|merges|spm|sentencepiece|chat_template)[\w.-]*)$/;

/**
 * Finds the files of an adapter.
 *
 * @param source A folder or a file, or a repository of the hub: `OWNER/NAME`,
 * `OWNER/NAME@REVISION`, `OWNER/NAME/FILE.safetensors`.
 * @throws {SyntaxError} If there is no adapter, or more than one.
 */
export async function findAdapter(
  source: string,
  options: SourceOptions = {},
): Promise<AdapterFiles> {
  const path = expandHome(source);
  if (!existsSync(path)) return await fetchAdapter(source, options);
  if (Deno.statSync(path).isFile) {
    return basename(path) === WEIGHTS
      ? inFolder(dirname(path), source)
      : { weights: path, config: undefined, others: new Map() };
  }
  return inFolder(path, source);
}

function inFolder(folder: string, source: string): AdapterFiles {
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  const at = (name: string) => join(folder, name);
  return filesOf(source, names, at, `"${at("FILE.safetensors")}"`);
}

/**
 * Chooses among the files of a folder or a repository.
 *
 * @param at Path of a file
 * @param example How to name one of several files
 */
function filesOf(
  source: string,
  names: readonly string[],
  at: (name: string) => string,
  example: string,
): AdapterFiles {
  if (names.includes(CONFIG) && names.includes(WEIGHTS)) {
    const others = names.filter((name) => KEPT.test(name));
    return {
      weights: at(WEIGHTS),
      config: at(CONFIG),
      others: new Map(others.map((name) => [name, at(name)])),
    };
  }
  const found = names.filter((name) => name.endsWith(".safetensors"));
  const [only] = found;
  if (only !== undefined && found.length === 1 && !names.includes(CONFIG)) {
    return { weights: at(only), config: undefined, others: new Map() };
  }
  const pickle = names.find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  throw new SyntaxError(
    names.includes(CONFIG) || found.length === 0
      ? `"${source}" has no "${WEIGHTS}" with "${CONFIG}" and no other safetensors file${
        pickle === undefined
          ? ""
          : `; "${pickle}" is a Python pickle: save it as safetensors`
      }`
      : `"${source}" has ${found.length} safetensors files: name one, ${example}, of ${
        found.map((name) => `"${name}"`).join(", ")
      }`,
  );
}

async function fetchAdapter(
  source: string,
  { signal, log }: SourceOptions,
): Promise<AdapterFiles> {
  const [, name, file, revision = "main"] =
    /^([\w-][\w.-]*\/[\w-][\w.-]*)(?:\/([\w./-]+\.safetensors))?(?:@([\w-][\w./-]*))?$/
      .exec(source) ?? [];
  if (name === undefined || source.includes("..")) {
    throw new SyntaxError(
      `"${source}" does not exist; name a folder, a safetensors file, or OWNER/NAME, OWNER/NAME@REVISION or OWNER/NAME/FILE.safetensors of the hub`,
    );
  }
  const repository = { type: "model", name } as const;
  const options = {
    settings: hubSettings(),
    signal,
    ...(log && { log }),
  };
  const { paths, title } = await listRepository(
    { repository, revision },
    options,
  );
  log?.(title);
  const chosen = file === undefined
    ? filesOf(
      source,
      paths.filter((path) => !path.includes("/")),
      (path) => path,
      `${name}/FILE.safetensors`,
    )
    : { weights: file, config: undefined, others: new Map<string, string>() };
  const wanted = [chosen.weights, chosen.config, ...chosen.others.keys()]
    .filter((it) => it !== undefined);
  const { files } = await fetchFiles(
    { repository, revision, required: wanted },
    options,
  );
  return {
    weights: files.get(chosen.weights)!,
    config: chosen.config && files.get(chosen.config),
    others: new Map(
      [...chosen.others.keys()].map((name) => [name, files.get(name)!]),
    ),
  };
}
