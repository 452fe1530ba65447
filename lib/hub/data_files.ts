import * as z from "zod";
import type { DataSource } from "./data_source.ts";
import {
  fetchFiles,
  type FetchOptions,
  listRepository,
} from "./fetch_files.ts";
import { quoted } from "./model_source.ts";

/**
 * Parquet files by split of a configuration, as paths in the repository, in
 * order.
 */
type Splits = ReadonlyMap<string, readonly string[]>;

/** The parquet files of one configuration of a data set. */
export interface OpenDataSet {
  readonly commit: string;
  /** Name and commit for a log. */
  readonly title: string;
  readonly splits: Splits;
  /**
   * Fetches the files of a split into the hub's cache, and gives their paths
   * there.
   */
  fetch(split: string): Promise<string[]>;
}

/**
 * Finds the parquet files of a data set on the hub as the library `datasets`
 * does: by the `configs` in the metadata block of `README.md`, otherwise by the
 * names of folders and files. The branch `refs/convert/parquet`, where the hub
 * keeps what it has converted, has the files `CONFIG/SPLIT/0000.parquet`.
 *
 * @throws {RemediedError} If the hub cannot be asked, or does not have the data
 * set.
 * @throws {SyntaxError} If it has no parquet files, or no such configuration or
 * split.
 */
export async function openDataSet(
  { name, revision, config, split }: DataSource,
  options: FetchOptions,
): Promise<OpenDataSet> {
  const repository = { type: "dataset", name } as const;
  const { commit, paths, title } = await listRepository(
    { repository, revision },
    options,
  );
  const fetch = async (wanted: readonly string[]) => {
    const { files } = await fetchFiles(
      { repository, revision: commit, required: wanted },
      options,
    );
    return wanted.map((path) => files.get(path)!);
  };
  // Without those that are hidden (`.x`) or private to a tool (`__x`).
  const parquet = paths.filter((path) =>
    path.endsWith(".parquet") && !/(^|\/)(\.|__)/.test(path)
  ).sort();
  if (parquet.length === 0) throw noParquet(name);
  const card = paths.includes("README.md")
    ? await Deno.readTextFile((await fetch(["README.md"]))[0]!)
    : "";
  const { configs, preferred } = convertedConfigs(parquet) ??
    await listedConfigs(card, parquet, name) ??
    { configs: new Map([["default", splitsByName(parquet)]]) };
  const [first, second] = configs.keys();
  const wanted = config ?? preferred ??
    (second === undefined
      ? first
      : [...configs.keys()].find((it) => it === "default"));
  const splits = configs.get(wanted ?? "");
  if (splits === undefined) {
    const names = quoted(configs.keys());
    throw new SyntaxError(
      wanted === undefined
        ? `"${name}" has the configurations ${names}; name one of them: "hub:${name}:${first}"`
        : `"${name}" has no configuration "${wanted}" in parquet files; it has ${names}`,
    );
  }
  const filesOf = (split: string) => {
    const files = splits.get(split);
    if (files !== undefined) return files;
    throw new SyntaxError(
      `"${name}" has no split "${split}"; it has ${quoted(splits.keys())}`,
    );
  };
  if (split !== undefined) filesOf(split);
  return {
    commit,
    title,
    splits,
    fetch: (split: string) => fetch(filesOf(split)),
  };
}

/** Configurations by name, and the one to use if none is named. */
interface Configs {
  readonly configs: ReadonlyMap<string, Splits>;
  readonly preferred?: string | undefined;
}

/**
 * Configurations in the layout of the branch that the hub converts to;
 * undefined for other layouts.
 */
function convertedConfigs(paths: readonly string[]): Configs | undefined {
  const layout = /^([^/]+)\/(?:partial-)?([^/]+)\/\d{4}\.parquet$/;
  if (!paths.every((path) => layout.test(path))) return undefined;
  const configs = grouped(paths, (path) => layout.exec(path)![1]);
  const bySplit = Array.from(
    configs,
    ([config, ofConfig]) =>
      [config, grouped(ofConfig, (path) => layout.exec(path)![2])] as const,
  );
  return { configs: new Map(bySplit) };
}

/** Paths by a key, without those that have none. */
function grouped(
  paths: readonly string[],
  keyOf: (path: string) => string | undefined,
): Map<string, readonly string[]> {
  const groups = Map.groupBy(paths, (path) => keyOf(path) ?? "");
  groups.delete("");
  return groups;
}

const OneOrMore = z.union([z.string(), z.array(z.string())])
  .transform((paths) => [paths].flat());

/** `configs` in the metadata block of a data set's `README.md`. */
const ListedConfigs = z.array(z.looseObject({
  config_name: z.string(),
  data_dir: z.string().optional(),
  data_files: z.union([
    OneOrMore.transform((path) => [{ split: "train", path }]),
    z.array(z.looseObject({ split: z.string(), path: OneOrMore })),
  ]).optional(),
  default: z.boolean().optional(),
})).min(1);

/**
 * Configurations that the metadata block of `README.md` lists, apart from those
 * without parquet files; undefined if it lists none.
 *
 * @see https://huggingface.co/docs/hub/datasets-manual-configuration
 * @throws {SyntaxError} If the block is invalid, or no configuration has
 * parquet files.
 */
async function listedConfigs(
  card: string,
  paths: readonly string[],
  name: string,
): Promise<Configs | undefined> {
  const [, head] = /^\uFEFF?---\r?\n([^]*?\n)---\s*(?:\n|$)/.exec(card) ?? [];
  if (head === undefined) return undefined;
  const { parse } = await import("@std/yaml");
  const { globToRegExp } = await import("@std/path/glob-to-regexp");
  let listed: unknown;
  try {
    listed = (parse(head) as { configs?: unknown } | null)?.configs;
  } catch (error) {
    const { message } = error as Error;
    throw new SyntaxError(
      `The metadata block of README.md of "${name}" is not YAML: ${message}`,
      { cause: error },
    );
  }
  if (listed === undefined) return undefined;
  const { data, error } = ListedConfigs.safeParse(listed);
  if (data === undefined) {
    const faults = z.prettifyError(error);
    throw new SyntaxError(
      `"configs" in README.md of "${name}" is invalid:\n${faults}`,
    );
  }
  const configs = new Map<string, Splits>();
  for (const { config_name, data_dir = "", data_files } of data) {
    const folder = data_dir.replace(/^\.?\/|\/+$/g, "");
    const base = folder && `${folder}/`;
    const inFolder = paths.filter((path) => path.startsWith(base));
    const splits = new Map<string, readonly string[]>();
    for (const { split, path } of data_files ?? []) {
      const patterns = path.map((glob) =>
        globToRegExp(`${base}${glob}`, { extended: false })
      );
      const matching = inFolder.filter((file) =>
        patterns.some((it) => it.test(file))
      );
      if (matching.length > 0) splits.set(split, matching);
    }
    const named = data_files === undefined
      ? splitsByName(inFolder, base)
      : splits;
    if (named.size > 0) configs.set(config_name, named);
  }
  if (configs.size === 0) throw noParquet(name);
  return {
    configs,
    preferred: data.find((config) => config.default)?.config_name,
  };
}

function noParquet(name: string): SyntaxError {
  return new SyntaxError(
    `"${name}" has no data in parquet files; the hub has a converted copy of most data sets: use "hub:${name}@refs/convert/parquet"`,
  );
}

/** Words that name a split in the name of a folder or file. */
const KEYWORDS = {
  train: "train|training",
  validation: "validation|valid|dev|val",
  test: "test|testing|eval|evaluation",
} as const;

/** The split that a word in one of some names stands for. */
function splitNamedIn(names: readonly string[]): string | undefined {
  return Object.entries(KEYWORDS).find(([, keywords]) => {
    const word = new RegExp(`(^|[-._ 0-9])(${keywords})([-._ 0-9]|$)`);
    return names.some((name) => word.test(name));
  })?.[0];
}

/**
 * Splits by the names of files. The first of these rules that finds a split
 * counts: `data/SPLIT-00000-of-00001.parquet`; words such as "dev" in names of
 * folders; the same in names of files; all files are the training split.
 *
 * @param base Folder of the files, with a slash at its end.
 */
function splitsByName(paths: readonly string[], base = ""): Splits {
  const rules: ((path: string) => string | undefined)[] = [
    (path) => /^data\/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*$/.exec(path)?.[1],
    (path) => splitNamedIn(path.split("/").slice(0, -1)),
    (path) => splitNamedIn(path.split("/").slice(-1)),
    () => "train",
  ];
  const bySplit = rules.map((rule) =>
    grouped(paths, (path) => rule(path.slice(base.length)))
  );
  return bySplit.find(({ size }) => size > 0) ?? new Map();
}
