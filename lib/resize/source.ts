import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fetchFiles, listRepository } from "../hub/fetch_files.ts";
import { expandHome, quoted } from "../hub/model_source.ts";
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

/**
 * Names of files beside a PEFT adapter that stay true when it is resized: model
 * card, classes, tokenizer.
 */
const KEPT =
  /^(README\.md|classes\.json|(tokenizer|special_tokens|added_tokens|vocab|merges|spm|sentencepiece|chat_template)[\w.-]*)$/;

/**
 * Finds the files of an adapter.
 *
 * @param source A folder or a file, or a repository of the hub: `OWNER/NAME`,
 * `OWNER/NAME@REVISION`, `OWNER/NAME/FILE.safetensors`.
 * @throws {SyntaxError} If there is no adapter, or more than one, or what is
 * copied as it is is no file, or a link to one of another folder.
 */
export async function findAdapter(
  source: string,
  options: SourceOptions = {},
): Promise<AdapterFiles> {
  const path = expandHome(source);
  if (!existsSync(path)) return await fetchAdapter(source, options);
  const isFile = Deno.statSync(path).isFile;
  if (isFile && basename(path) !== WEIGHTS) return filesOf([path], (it) => it);
  const folder = isFile ? dirname(path) : path;
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  const files = filesOf(
    chosenOf(source, names, `"${join(folder, "FILE.safetensors")}"`),
    (name) => join(folder, name),
  );
  const realFolder = Deno.realPathSync(folder);
  for (const path of files.others.values()) {
    const file = Deno.realPathSync(path);
    if (!Deno.statSync(file).isFile) {
      throw new SyntaxError(`"${path}" is not a file: remove it`);
    }
    // The hub's cache has links to its blobs.
    if ([realFolder, join(realFolder, "../../blobs")].includes(dirname(file))) {
      continue;
    }
    throw new SyntaxError(
      `"${path}" is a link to "${file}", outside of the adapter: copy that file, or remove the link`,
    );
  }
  return files;
}

/** The files of an adapter with these names, the weights first. */
function filesOf(
  [weights, ...names]: readonly string[],
  at: (name: string) => string,
): AdapterFiles {
  const others = names.filter((name) => name !== CONFIG);
  return {
    weights: at(weights!),
    config: names.includes(CONFIG) ? at(CONFIG) : undefined,
    others: new Map(others.map((name) => [name, at(name)])),
  };
}

/**
 * Chooses among the names of the files of a folder or a repository those of an
 * adapter, the weights first.
 *
 * @param example How to name one of several files
 */
function chosenOf(
  source: string,
  names: readonly string[],
  example: string,
): string[] {
  const isPeft = names.includes(CONFIG);
  if (isPeft && names.includes(WEIGHTS)) {
    return [WEIGHTS, CONFIG, ...names.filter((name) => KEPT.test(name))];
  }
  if (names.includes(WEIGHTS)) {
    throw new SyntaxError(
      `"${source}" has "${WEIGHTS}" without "${CONFIG}", which has its ranks and scales: add that file of the same adapter`,
    );
  }
  const weights = names.filter((name) => name.endsWith(".safetensors"));
  if (weights.length === 1 && !isPeft) return weights;
  const pickle = names.find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  const remedy = pickle === undefined
    ? ""
    : `; "${pickle}" is a Python pickle: save it as safetensors`;
  throw new SyntaxError(
    isPeft || weights.length === 0
      ? `"${source}" has no "${WEIGHTS}" with "${CONFIG}" and no other safetensors file${remedy}`
      : `"${source}" has ${weights.length} safetensors files: name one, ${example}, of ${
        quoted(weights)
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
  const options = { settings: hubSettings(), signal, ...(log && { log }) };
  const listed = await listRepository({ repository, revision }, options);
  log?.(listed.title);
  const names = listed.paths.filter((path) => !path.includes("/"));
  const required = file === undefined || file === WEIGHTS
    ? chosenOf(source, names, `${name}/FILE.safetensors`)
    : [file];
  const { files } = await fetchFiles(
    { repository, revision, required },
    options,
  );
  return filesOf(required, (name) => files.get(name)!);
}
