/** The files and folders outside the cache that parameters of stages name. */
import type { GraphStage } from "../pipeline/graph.ts";
import { listTree, notAFile, treeText } from "../store/blobs.ts";
import { canonicalJson, digest } from "../store/digest.ts";
import { isMissing } from "../store/files.ts";
import {
  basename,
  dirname,
  join,
  resolve,
  systemFolderOf,
} from "../store/paths.ts";
import { type Fingerprint, fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import { isCurrent, type TaskCode } from "./code.ts";

/** Absolute paths of the files and folders that parameters name, by the dot path of the parameter. */
export type Sources = ReadonlyMap<string, string>;

/**
 * Digest of a source: of a file's name and content, or of a folder's name and
 * the paths and contents of all files, and the paths of all empty folders, in
 * it. The name counts since a task may record it, as `fetch-model` does; the
 * location does not.
 *
 * @throws {Error} If the source does not exist.
 */
export async function sourceDigest(
  path: string,
  { stats, listings }: Pick<Store, "stats" | "listings">,
): Promise<string> {
  const files = [];
  for (const [name, file] of filesOf(path)) {
    const blob = name.endsWith("/") ? "" : await stats.digest(file);
    if (blob === undefined) throw new Error(`"${file}" does not exist`);
    files.push({ path: name, size: 0, blob });
  }
  return await listings.note(treeText(files));
}

/** Fingerprints of all files and folders of a source: a file that comes and goes changes its folder. */
export function sourcePrints(path: string): (Fingerprint | undefined)[] {
  const files = filesOf(path).map(([, file]) => file);
  const members = new Set([path, ...files]);
  for (const file of members) {
    if (file !== path) members.add(dirname(file));
  }
  return [...members].map(fingerprint);
}

/** The parameters, with the sources as absolute paths. */
export function withAbsoluteSources(
  params: Readonly<Record<string, unknown>>,
  sources: Sources,
): Readonly<Record<string, unknown>> {
  const copy = structuredClone(params);
  for (const [name, path] of sources) edit(copy, name, path);
  return copy;
}

/** The parameters, without the sources. */
export function withoutSources(
  params: Readonly<Record<string, unknown>>,
  sources: Sources,
): Readonly<Record<string, unknown>> {
  if (sources.size === 0) return params;
  const copy = structuredClone(params);
  for (const name of sources.keys()) edit(copy, name, undefined);
  return copy;
}

/** Replaces, or removes, the value at a dot path, if there is one. */
function edit(
  params: Record<string, unknown>,
  name: string,
  value: string | undefined,
): void {
  const steps = name.split(".");
  const last = steps.pop()!;
  let place = params;
  for (const step of steps) {
    const next = place[step];
    if (typeof next !== "object" || next === null) return;
    place = next as Record<string, unknown>;
  }
  if (value === undefined) delete place[last];
  else if (last in place) place[last] = value;
}

/**
 * Names and paths of the files of a source, and of its empty folders, whose names end with a slash.
 *
 * @throws {Error} If it does not exist, or is or contains something else, such as a pipe, which can be read only once.
 */
function filesOf(path: string): (readonly [name: string, file: string])[] {
  const own = basename(path);
  if (sourceInfo(path).isFile) return [[own, path]];
  const members = listTree(path, "follow");
  return (members.length === 0 ? [""] : members).map((name) => [
    `${own}/${name}`,
    join(path, name),
  ]);
}

/**
 * What a source is: a file or a folder.
 *
 * @throws {Error} If it does not exist, or is something else.
 */
function sourceInfo(path: string): Deno.FileInfo {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new Error(`"${path}" does not exist`, { cause: error });
  }
  if (info.isFile) return info;
  if (!info.isDirectory) {
    const { message } = notAFile(path, info);
    throw new Error(`${message}; write its content to a file`);
  }
  const system = systemFolderOf(path);
  if (system !== undefined) {
    throw new Error(
      `"${path}" is a folder of ${system}, whose content the kernel generates; copy the files that you need to another folder`,
    );
  }
  return info;
}

/** Section of the store's memo. */
const SECTION = "sources";

/**
 * The sources that stages name by their parameters, as their tasks' `sources()`
 * returns them. They are memoized by code and parameters, so that a run with
 * nothing to do imports no task.
 */
export class SourcePaths {
  readonly #store: Store;
  readonly #project: string;

  constructor(store: Store, project: string) {
    this.#store = store;
    this.#project = project;
  }

  /** The sources of a stage whose task has this code. */
  async of(
    { declaration, module, params }: GraphStage,
    code: TaskCode,
  ): Promise<Sources> {
    if (!declaration.sources) return new Map();
    const question = await digest(canonicalJson([
      code.bundle,
      params,
      this.#project,
      Deno.env.get("HOME") ?? "",
    ]));
    const { memo } = this.#store;
    const known = memo.get<Record<string, string>>(SECTION, question);
    if (known !== undefined) return new Map(Object.entries(known));
    const { loadTask } = await import("../pipeline/load_task.ts");
    const task = await loadTask(module);
    const sources = new Map(
      Object.entries(task.sources?.(params) ?? {})
        .map(([name, path]) => [name, resolve(this.#project, path)]),
    );
    // The imported module may be newer than the code.
    if (await isCurrent(code, this.#store)) {
      memo.set(SECTION, question, Object.fromEntries(sources));
    }
    return sources;
  }

  /**
   * Checks that the sources of stages exist.
   *
   * @param code Code of each task, by the URL of its module
   * @throws {Error} Naming every source that does not, and the stages.
   */
  async check(
    stages: readonly GraphStage[],
    code: ReadonlyMap<string, TaskCode>,
  ): Promise<void> {
    const faults: { name: string; message: string; id: string }[] = [];
    for (const stage of stages) {
      const sources = await this.of(stage, code.get(stage.module)!);
      for (const [name, path] of sources) {
        try {
          sourceInfo(path);
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          faults.push({ name, message: error.message, id: stage.id });
        }
      }
    }
    if (faults.length === 0) return;
    const lines = Map.groupBy(
      faults,
      ({ name, message }) => `${name} ${message}`,
    ).values().map(([first, ...others]) => {
      const { name, message, id } = first!;
      const more = others.length > 0 ? ` and ${others.length} more` : "";
      return `Parameter "${name}" of stage "${id}"${more}: ${message}`;
    });
    throw new Error([...lines].join("\n"));
  }
}
