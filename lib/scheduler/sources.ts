/** The files and folders outside the cache that parameters of stages name. */
import type { GraphStage } from "../pipeline/graph.ts";
import { listTree, notAFile, treeText } from "../store/blobs.ts";
import { canonicalJson, digest, quickChecksum } from "../store/digest.ts";
import {
  isFull,
  isMissing,
  isReadOnly,
  readSealed,
  writeSealed,
} from "../store/files.ts";
import {
  basename,
  dirname,
  join,
  resolve,
  systemFolderOf,
} from "../store/paths.ts";
import {
  type Fingerprint,
  fingerprint,
  linkFingerprint,
  type Seen,
} from "../store/stats.ts";
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
  return listings.note(
    await sourceText(path, (file) => stats.digest(file)),
  );
}

/** Content of a source, and whether it may change without a trace. */
interface InspectedSource extends Omit<Seen, "blob"> {
  readonly digest: string;
}

/** Digest of a source, as {@linkcode sourceDigest} gives it, and whether the source may change without a trace. */
export async function inspectSource(
  path: string,
  { stats, listings }: Pick<Store, "stats" | "listings">,
): Promise<InspectedSource> {
  let isSettled = true;
  let isWritten = false;
  const text = await sourceText(path, async (file) => {
    const seen = await stats.inspect(file);
    isSettled &&= seen?.settled === true;
    isWritten ||= seen?.written === true;
    return seen?.blob;
  });
  const digest = listings.note(text);
  return { digest, settled: isSettled, written: isWritten };
}

async function sourceText(
  path: string,
  digestOf: (file: string) => Promise<string | undefined>,
): Promise<string> {
  const files = [];
  for (const [name, file] of filesOf(path)) {
    const blob = name.endsWith("/") ? "" : await digestOf(file);
    if (blob === undefined) throw new Error(`"${file}" does not exist`);
    files.push({ path: name, size: 0, blob });
  }
  return treeText(files);
}

/**
 * Copies a source into a folder, under its own name. The file system shares the
 * blocks of the copy where it can.
 *
 * @returns Path of the copy.
 */
export async function copySource(
  path: string,
  folder: string,
): Promise<string> {
  Deno.mkdirSync(folder, { recursive: true });
  for (const [name, file] of filesOf(path)) {
    const copy = join(folder, name);
    Deno.mkdirSync(name.endsWith("/") ? copy : dirname(copy), {
      recursive: true,
    });
    if (!name.endsWith("/")) await Deno.copyFile(file, copy);
  }
  return join(folder, basename(path));
}

/**
 * Fingerprints of all files and folders of a source, and of the symbolic links
 * that lead to them: a file that comes and goes changes its folder, and a link
 * that leads elsewhere and back is another link, unless both changes fall into
 * the tick of the file system's clock in which the link was made.
 */
export function sourcePrints(path: string): (Fingerprint | undefined)[] {
  const files = filesOf(path).map(([, file]) => file);
  const folders = new Set([path]);
  for (const file of files) {
    for (
      let folder = dirname(file);
      folder.length >= path.length && !folders.has(folder);
      folder = dirname(folder)
    ) folders.add(folder);
  }
  const members = [...files, ...folders];
  const links = new Set(linksOn(path));
  for (const member of members) {
    if (isLink(member)) linksOn(member).forEach((link) => links.add(link));
  }
  return [
    ...members.map(fingerprint),
    ...[...links].map(linkFingerprint),
  ];
}

/** Symbolic links that Linux follows to reach a file: more than these are an error. */
const MAX_LINKS = 40;

/** Symbolic links that the system follows to reach an absolute path, each by a path without links. */
function linksOn(path: string): string[] {
  const links: string[] = [];
  const steps = path.split("/");
  let at = "/";
  for (let step; (step = steps.shift()) !== undefined;) {
    const next = join(at, step);
    if (!isLink(next)) {
      at = next;
      continue;
    }
    links.push(next);
    if (links.length > MAX_LINKS) break;
    const target = Deno.readLinkSync(next);
    if (target.startsWith("/")) at = "/";
    steps.unshift(...target.split("/"));
  }
  return links;
}

function isLink(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSymlink;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
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
  return listTree(path, "follow").map((name) => [
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

/** Version of `sources.json`. */
const VERSION = 1;

/** Maximum number of entries in `sources.json`. */
const MAX_ENTRIES = 1_000;

/**
 * The sources that stages name by their parameters, as their tasks' `sources()`
 * returns them. They are memoized by code and parameters, so that a run with
 * nothing to do imports no task.
 */
export class SourcePaths {
  readonly #store: Store;
  readonly #project: string;
  readonly #known: Map<string, Record<string, string>>;
  #changed = false;

  constructor(store: Store, project: string) {
    this.#store = store;
    this.#project = project;
    const memo = readSealed(this.#path, quickChecksum);
    const paths = memo?.version === VERSION
      ? memo.paths as Record<string, Record<string, string>>
      : {};
    this.#known = new Map(Object.entries(paths));
  }

  /** The sources of a stage whose task has this code. */
  async of(
    { declaration, module, params }: GraphStage,
    code: TaskCode,
  ): Promise<Sources> {
    if (!declaration.sources) return new Map();
    const question = digest(canonicalJson([
      code.listing,
      params,
      this.#project,
      Deno.env.get("HOME") ?? "",
    ]));
    const known = this.#known.get(question);
    if (known !== undefined) return new Map(Object.entries(known));
    const { loadTask } = await import("../pipeline/load_task.ts");
    const task = await loadTask(module);
    const sources = new Map(
      Object.entries(task.sources?.(params) ?? {})
        .map(([name, path]) => [name, resolve(this.#project, path)]),
    );
    // The imported module may be newer than the code.
    if (await isCurrent(code, this.#store)) {
      this.#known.set(question, Object.fromEntries(sources));
      this.#changed = true;
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

  /** Writes the memo, if the cache is writable and the disk has space. */
  save(): void {
    if (!this.#changed) return;
    try {
      this.#store.makeFolder();
      writeSealed(this.#path, {
        version: VERSION,
        paths: Object.fromEntries([...this.#known].slice(-MAX_ENTRIES)),
      }, quickChecksum);
    } catch (error) {
      if (!isReadOnly(error) && !isFull(error)) throw error;
    }
  }

  get #path(): string {
    return this.#store.path("sources.json");
  }
}
