/**
 * Imports task modules. Separate from task.ts, whose text is part of every
 * stage's key.
 */
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { isMissing } from "../files/files.ts";
import { didYouMean } from "./did_you_mean.ts";
import type { Task } from "./task.ts";

/**
 * Imports a task module and checks that it declares a task.
 *
 * @param module `file:` URL of the module.
 * @throws {Error} If the module cannot be imported, or its default export is
 * not a task.
 */
export async function loadTask(module: string): Promise<Task> {
  let task: Partial<Task> | undefined;
  try {
    ({ default: task } = await import(module));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(`Task module "${module}" cannot be imported: ${message}`, {
      cause: error,
    });
  }
  // What a task has, TypeScript checks by defineTask().
  if (task?.params instanceof z.ZodObject && "run" in task) return task as Task;
  throw new Error(
    `Task module "${module}" does not declare a task: its default export must be what defineTask() returns`,
  );
}

/** A task and the `file:` URL of its module. */
export interface LoadedTask {
  readonly task: Task;
  readonly module: string;
}

/** A task, or the reason why it cannot be used. */
type TaskOrProblem = LoadedTask | { readonly problem: string };

/** A folder of task modules: the task `tokenize` is `tokenize.ts`. */
export class TaskFolder {
  readonly #tasks = new Map<string, Promise<TaskOrProblem>>();
  #names: readonly string[] | undefined;

  constructor(readonly folder: string) {}

  /** Names of all tasks, sorted. */
  names(): readonly string[] {
    this.#names ??= listModules(this.folder);
    return this.#names;
  }

  /** Imports a task by name, once. */
  find(name: string): Promise<TaskOrProblem> {
    return this.#tasks.getOrInsertComputed(name, () => this.#find(name));
  }

  async #find(name: string): Promise<TaskOrProblem> {
    const names = this.names();
    if (!names.includes(name)) {
      const hint = didYouMean(name, names, "the tasks are") ||
        `; the folder "${this.folder}" contains no task modules`;
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

/**
 * Names of the modules in a folder, sorted, without hidden files, which editors
 * leave there.
 */
function listModules(folder: string): readonly string[] {
  try {
    return [...Deno.readDirSync(folder)]
      .filter(({ isDirectory }) => !isDirectory)
      .flatMap(({ name }) => /^([^.].*)\.ts$/.exec(name)?.[1] ?? []).sort();
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new Error(`The task folder "${folder}" does not exist`, {
      cause: error,
    });
  }
}
