import type { Store } from "../store/store.ts";

/** Code of a task: the one file that its stages run. */
export interface TaskCode {
  /** Blob of its bundle. */
  readonly bundle: string;
  /** Files that it was made from, with their digests. While these match, it is current. */
  readonly files: readonly (readonly [path: string, raw: string])[];
}

/** Section of the store's memo, by project, which resolves imports in its own way, and URL of a task's module. */
const SECTION = "code";

/**
 * Code of tasks, by the URL of their modules. Nothing is bundled again until one
 * of the files that a bundle was made from changes.
 *
 * @throws {Error} If a module is missing or does not parse.
 */
export async function taskCode(
  modules: readonly string[],
  project: string,
  store: Store,
): Promise<Map<string, TaskCode>> {
  const found = new Map<string, TaskCode>();
  for (const module of modules) {
    const known = store.memo.get<TaskCode>(SECTION, `${project} ${module}`);
    if (known !== undefined && await isCurrent(known, store)) {
      found.set(module, known);
    }
  }
  const missing = modules.filter((module) => !found.has(module));
  if (missing.length === 0) return found;
  const { bundleTasks } = await import("./bundle.ts");
  const temporary = store.makeFolder();
  const bundles = await bundleTasks(missing, project, { temporary });
  for (const [module, { text, files }] of bundles) {
    const { blob } = await store.blobs.putText(text);
    const code = { bundle: blob, files };
    found.set(module, code);
    store.memo.set(SECTION, `${project} ${module}`, code);
  }
  await store.memo.save();
  return found;
}

/** True if none of the files of the code has changed and its bundle is in the cache. */
export async function isCurrent(
  { bundle, files }: TaskCode,
  store: Store,
): Promise<boolean> {
  for (const [path, raw] of files) {
    if ((await store.stats.digest(path) ?? "") !== raw) return false;
  }
  return await store.blobs.holds(bundle);
}
