/**
 * What the result of a stage depends on, and the files outside the cache that
 * its parameters name.
 */
import type { GraphStage } from "../pipeline/graph.ts";
import { listTree, notAFile, treeText } from "../store/blobs.ts";
import type { InputPart, KeyParts, Manifest } from "../store/manifests.ts";
import type { Store } from "../store/store.ts";
import { canonicalJson, digest } from "../files/digest.ts";
import { statIfThere } from "../files/files.ts";
import { fingerprint } from "../files/fingerprints.ts";
import { basename, dirname, join, resolve } from "../files/paths.ts";
import { type Context, isCurrent, stageOf, taskOf } from "./context.ts";

/**
 * Everything that the result of a stage depends on. These are not part of it:
 * times, the stage's name, paths, and resources (except for processors where
 * results depend on the number of threads).
 *
 * @param sources Its sources, whose contents take the place of their paths.
 * @param results Results of its inputs, by stage.
 */
export function keyParts(
  context: Context,
  stage: GraphStage,
  sources: ReadSources,
  results: ReadonlyMap<string, Manifest>,
): KeyParts {
  const { declaration, module, params, resources } = stage;
  const inputs = Object.entries(stage.inputs).map(([name, ids]) => {
    const many = declaration.inputs[name]?.many === true;
    // Only what the task sees of it: so renaming a stage rarely makes others
    // run.
    const parts = ids.map((id): InputPart => {
      const { content, seconds, metrics, machine } = results.get(id)!;
      return {
        content,
        ...(many && { stage: id, matrix: stageOf(context, id).matrix }),
        ...(declaration.timings && { seconds, metrics }),
        ...(declaration.timings && machine !== undefined && { machine }),
      };
    });
    return [name, parts];
  });
  const runtimes = declaration.needs.map((name) => {
    const { identity, threaded } = context.runtimes.get(name)!;
    const threads = threadsOf(resources);
    return [name, threaded ? `${identity}, ${threads}` : identity];
  });
  return {
    code: context.code.get(module)!.bundle,
    params: withoutSources(params, sources.paths),
    sources: sources.digests,
    inputs: Object.fromEntries(inputs),
    runtimes: Object.fromEntries(runtimes),
  };
}

/**
 * The key of a stage. It is remembered with its parts: each digest is computed
 * in another thread, which takes longer than comparing them.
 */
export async function keyOf(
  parts: KeyParts,
  stage: string,
  { memo }: Pick<Store, "memo">,
): Promise<string> {
  const text = canonicalJson(parts);
  const [before, remembered] = memo.get<[string, string]>("keys", stage) ?? [];
  if (remembered !== undefined && before === text) return remembered;
  const key = await digest(text);
  memo.set("keys", stage, [text, key]);
  return key;
}

/** The threads that a stage gets: `2 threads`. */
export function threadsOf({ cpus }: GraphStage["resources"]): string {
  return cpus === 1 ? "1 thread" : `${cpus} threads`;
}

type Params = KeyParts["params"];

/**
 * Absolute paths of the files and folders that parameters name, by the dot path
 * of the parameter.
 */
export type Sources = ReadonlyMap<string, string>;

/** Sources and what is in them. */
export interface ReadSources {
  readonly paths: Sources;
  /** SHA-256 of the listing of each, by the dot path of the parameter. */
  readonly digests: Readonly<Record<string, string>>;
  /** Listings by their SHA-256. */
  readonly listings: ReadonlyMap<string, string>;
}

/**
 * Reads sources, as far as they have changed since they were last read.
 *
 * @throws {Error} If one of them does not exist.
 */
export async function readSources(
  paths: Sources,
  store: Store,
): Promise<ReadSources> {
  const digests: Record<string, string> = {};
  const listings = new Map<string, string>();
  for (const [name, path] of paths) {
    const listing = await sourceListing(path, store);
    digests[name] = await digest(listing);
    listings.set(digests[name], listing);
  }
  return { paths, digests, listings };
}

/**
 * Listing of a source (see {@linkcode treeText}): a file's name and content, or
 * a folder's name and the paths and contents of all files, and the paths of all
 * empty folders, in it. The name counts since a task may record it, as
 * `fetch-model` does; the location does not.
 *
 * @throws {Error} If the source does not exist.
 */
export async function sourceListing(
  path: string,
  { stats }: Pick<Store, "stats">,
): Promise<string> {
  const files = [];
  for (const [name, file] of filesOf(path)) {
    const blob = name.endsWith("/") ? "" : await stats.digest(file);
    if (blob === undefined) throw new Error(`"${file}" does not exist`);
    files.push({ path: name, size: 0, blob });
  }
  return treeText(files);
}

/**
 * Fingerprints of all files and folders of sources, as text: a file that comes
 * and goes changes its folder.
 */
export function sourcePrints(sources: Sources): string {
  const prints = [...sources.values()].flatMap((path) => {
    const members = new Set([path, ...filesOf(path).map(([, file]) => file)]);
    for (const file of members) {
      if (file !== path) members.add(dirname(file));
    }
    return [...members].map((it) => fingerprint(it) ?? null);
  });
  return canonicalJson(prints);
}

/** The parameters, with the sources as absolute paths. */
export function withAbsoluteSources(params: Params, sources: Sources): Params {
  return edited(params, sources, (mapping, name, path) => {
    if (name in mapping) mapping[name] = path;
  });
}

/** The parameters, without the sources. */
function withoutSources(params: Params, sources: Sources): Params {
  return edited(params, sources, (mapping, name) => delete mapping[name]);
}

/**
 * A copy of the parameters in which the mapping with each source has been
 * edited.
 */
function edited(
  params: Params,
  sources: Sources,
  edit: (mapping: Record<string, unknown>, name: string, path: string) => void,
): Params {
  if (sources.size === 0) return params;
  const copy = structuredClone(params) as Record<string, unknown>;
  for (const [at, path] of sources) {
    const steps = at.split(".");
    const name = steps.pop()!;
    const mapping = steps.reduce<Record<string, unknown> | undefined>(
      (it, step) => it?.[step] as Record<string, unknown> | undefined,
      copy,
    );
    if (typeof mapping === "object" && mapping !== null) {
      edit(mapping, name, path);
    }
  }
  return copy;
}

/**
 * Names and paths of the files of a source, and of its empty folders, whose
 * names end with a slash.
 *
 * @throws {Error} If it does not exist, or is or contains something else, such
 * as a pipe, which can be read only once.
 */
function filesOf(path: string): (readonly [name: string, file: string])[] {
  const sourceName = basename(path);
  if (sourceInfo(path).isFile) return [[sourceName, path]];
  const members = listTree(path, "follow");
  return (members.length === 0 ? [""] : members).map((name) => [
    `${sourceName}/${name}`,
    join(path, name),
  ]);
}

/**
 * What a source is: a file or a folder.
 *
 * @throws {Error} If it does not exist, or is something else.
 */
function sourceInfo(path: string): Deno.FileInfo {
  const info = statIfThere(path);
  if (info === undefined) throw new Error(`"${path}" does not exist`);
  if (info.isFile || info.isDirectory) return info;
  const { message } = notAFile(path);
  throw new Error(`${message}; write its content to a file`);
}

/** Section of the store's memo. */
const SECTION = "sources";

/**
 * The sources that a stage names by its parameters, as its task's `sources()`
 * returns them. They are memoized by code and parameters, so that a run with
 * nothing to do imports no task.
 */
export async function sourcesOf(
  { settings: { project }, store, code: codes }:
    & Pick<Context, "store" | "code">
    & { readonly settings: Pick<Context["settings"], "project"> },
  { declaration, module, params }: GraphStage,
): Promise<Sources> {
  if (!declaration.sources) return new Map();
  const code = codes.get(module)!;
  const home = Deno.env.get("HOME") ?? "";
  const question = canonicalJson([code.bundle, params, project, home]);
  const { memo } = store;
  const remembered = memo.get<Record<string, string>>(SECTION, question);
  if (remembered !== undefined) return new Map(Object.entries(remembered));
  const task = await taskOf({ module });
  const sources = new Map(
    Object.entries(task.sources?.(params) ?? {})
      .map(([name, path]) => [name, resolve(project, path)]),
  );
  // The imported module may be newer than the code.
  if (await isCurrent(code, store)) {
    memo.set(SECTION, question, Object.fromEntries(sources));
  }
  return sources;
}

/**
 * Checks that the sources of all selected stages exist, so that none of them is
 * missed after others have run for hours.
 *
 * @throws {Error} Naming every source that does not, and the stages.
 */
export async function checkSources(context: Context): Promise<void> {
  const faults = new Set<string>();
  for (const id of context.selected) {
    const stage = stageOf(context, id);
    for (const [name, path] of await sourcesOf(context, stage)) {
      try {
        sourceInfo(path);
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        const of = `Parameter "${name}" of stage "${stage.name}"`;
        faults.add(`${of}: ${error.message}`);
      }
    }
  }
  if (faults.size > 0) throw new Error([...faults].join("\n"));
}
