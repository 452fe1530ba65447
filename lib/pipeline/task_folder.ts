import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { didYouMean } from "./suggest.ts";
import { loadTask } from "./load_task.ts";
import type { Task } from "./task.ts";

/** A task and the `file:` URL of its module. */
export interface LoadedTask {
  readonly task: Task;
  readonly module: string;
}

/** A task that a pipeline names, or why there is none. */
type Found = LoadedTask | { readonly problem: string };

/** A folder of task modules: the task `tokenize` is `tokenize.ts`. */
export class TaskFolder {
  readonly #found = new Map<string, Promise<Found>>();
  #names: readonly string[] | undefined;

  constructor(readonly folder: string) {}

  /** Names of all tasks, sorted. */
  names(): readonly string[] {
    return this.#names ??= listModules(this.folder);
  }

  /** Imports the task of a name, once. */
  find(name: string): Promise<Found> {
    let found = this.#found.get(name);
    if (found === undefined) {
      found = this.#find(name);
      this.#found.set(name, found);
    }
    return found;
  }

  async #find(name: string): Promise<Found> {
    const names = this.names();
    if (!names.includes(name)) {
      const hint = didYouMean(name, names) ||
        `; there are ${names.map((it) => `"${it}"`).join(", ") || "none"}`;
      return { problem: `Unknown task "${name}"${hint}` };
    }
    const module = pathToFileURL(join(resolve(this.folder), `${name}.ts`)).href;
    try {
      return { task: await loadTask(module), module };
    } catch (error) {
      return { problem: error instanceof Error ? error.message : `${error}` };
    }
  }
}

function listModules(folder: string): readonly string[] {
  try {
    return [...Deno.readDirSync(folder)]
      .filter(({ name, isDirectory }) => !isDirectory && name.endsWith(".ts"))
      .map(({ name }) => name.slice(0, -".ts".length)).sort();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`The folder of tasks "${folder}" does not exist`, {
      cause: error,
    });
  }
}
