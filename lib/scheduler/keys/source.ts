import { basename, join, resolve } from "node:path";
import type { Task } from "../../pipeline/task.ts";
import { type Fingerprint, fingerprint } from "../../store/fingerprint.ts";
import type { Store } from "../../store/store.ts";
import { listFiles, treeText } from "../../store/tree.ts";

/** The files and folders that a stage's parameters name, by the dot path of the parameter; absolute paths. */
export function sourcesOf(
  task: Task,
  params: Readonly<Record<string, unknown>>,
  project: string,
): Map<string, string> {
  const sources = task.sources?.(params) ?? {};
  return new Map(
    Object.entries(sources).map(([name, path]) => [
      name,
      resolve(project, path),
    ]),
  );
}

/**
 * Digest of a source's content: of a file with its name, or of a folder's name
 * and all files below it. A task may write that name down, as `fetch-model`
 * does; where the source lies makes no difference.
 *
 * @throws {Error} If it does not exist.
 */
export async function sourceDigest(
  path: string,
  { stats, listings }: Pick<Store, "stats" | "listings">,
): Promise<string> {
  const files = [];
  for (const [name, file] of filesOf(path)) {
    const blob = await stats.digest(file);
    if (blob === undefined) throw new Error(`"${file}" does not exist`);
    files.push({ path: name, size: 0, blob });
  }
  return listings.note(treeText(files));
}

/** Fingerprints of all files of a source. */
export function sourcePrints(path: string): (Fingerprint | undefined)[] {
  return filesOf(path).map(([, file]) => fingerprint(file));
}

/** Parameters with every source named by its absolute path. */
export function withAbsoluteSources(
  params: Readonly<Record<string, unknown>>,
  sources: ReadonlyMap<string, string>,
): Record<string, unknown> {
  const copy = structuredClone(params) as Record<string, unknown>;
  for (const [name, path] of sources) edit(copy, name, path);
  return copy;
}

/** Parameters without those that name a source. */
export function withoutSources(
  params: Readonly<Record<string, unknown>>,
  sources: ReadonlyMap<string, string>,
): Readonly<Record<string, unknown>> {
  if (sources.size === 0) return params;
  const copy = structuredClone(params) as Record<string, unknown>;
  for (const name of sources.keys()) edit(copy, name, undefined);
  return copy;
}

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

function filesOf(path: string): (readonly [name: string, file: string])[] {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`"${path}" does not exist`, { cause: error });
  }
  const own = basename(path);
  return info.isDirectory
    ? listFiles(path, "follow").map((name) => [
      `${own}/${name}`,
      join(path, name),
    ])
    : [[own, path]];
}
