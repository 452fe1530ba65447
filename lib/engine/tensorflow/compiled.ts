import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";

/** Folders through which processes share the functions that XLA has compiled. */
export interface CompiledFolders {
  /** What earlier processes have compiled, by function; only read. */
  readonly kept: string;
  /** A folder of this process, for what it compiles. */
  readonly own: string;
}

/** Folder, below {@linkcode CompiledFolders.own}, in which the library looks for functions and writes them. */
const LIBRARY_FOLDER = "library";
/** Folder, below {@linkcode CompiledFolders.own}, of what was compiled or used, by function. */
const FUNCTIONS_FOLDER = "functions";
/** The hashes of a function's files. */
const INDEX = "index.json";

/** Matches the names of functions; see `TensorflowBinding.endTrace()`. */
const NAME = /^traced_[0-9a-f]{32}$/;

/** Names of the files in a folder. Links are none: a stage could point them anywhere. */
function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile)
    .map(({ name }) => name).sort();
}

/**
 * Compiled functions for the library, which compiles whatever it finds no file
 * of. A file does not change what a function computes: it contains the code
 * that the library made for the same operations on the same kind of processor,
 * and the library compares the operations.
 */
export class CompiledFunctions {
  readonly #folders: CompiledFolders;

  constructor(folders: CompiledFolders) {
    this.#folders = folders;
    for (const folder of [LIBRARY_FOLDER, FUNCTIONS_FOLDER]) {
      Deno.mkdirSync(join(folders.own, folder), { recursive: true });
    }
  }

  /** Environment variables of the library, to set before it is loaded. */
  static environment({ own }: CompiledFolders): Record<string, string> {
    return {
      TF_XLA_FLAGS: `--tf_xla_persistent_cache_directory="${
        join(own, LIBRARY_FOLDER).replaceAll(/["\\]/g, "\\$&")
      }"`,
      // The library tries to read each file as text first, and logs errors when it is not.
      TF_CPP_MIN_LOG_LEVEL: "3",
    };
  }

  /**
   * Makes the first call of a function, with the compiled code of the functions
   * in it at hand: what was kept of them, and of the others what the library
   * compiles now.
   *
   * @param functions Of each function by name, a call that has it compiled
   */
  firstCall<T>(
    functions: ReadonlyMap<string, () => void>,
    call: () => T,
  ): T {
    const shared = join(this.#folders.own, LIBRARY_FOLDER);
    const found = new Set<string>();
    for (const [name, compile] of functions) {
      const own = join(this.#folders.own, FUNCTIONS_FOLDER, name);
      Deno.mkdirSync(own);
      const kept = this.#take(name, shared);
      for (const file of kept) found.add(file);
      // A folder without files says that those that were kept have been used.
      if (kept.length > 0) continue;
      compile();
      for (const file of filesIn(shared)) {
        if (found.has(file)) continue;
        Deno.copyFileSync(join(shared, file), join(own, file));
        found.add(file);
      }
    }
    const result = call();
    for (const file of filesIn(shared)) Deno.removeSync(join(shared, file));
    return result;
  }

  /** Copies the files that were kept of a function, if none has changed, and returns their names. */
  #take(name: string, to: string): string[] {
    const folder = join(this.#folders.kept, name);
    const files: [string, Uint8Array][] = [];
    try {
      const index: Record<string, string> = JSON.parse(
        Deno.readTextFileSync(join(folder, INDEX)),
      );
      for (const [file, sha256] of Object.entries(index)) {
        const bytes = Deno.readFileSync(join(folder, basename(file)));
        if (digestOf(bytes) !== sha256) return [];
        files.push([basename(file), bytes]);
      }
    } catch (error) {
      // Nothing was kept, or it is damaged, or it was removed, and made again
      // where a confined process may not read: it is compiled again.
      if (
        error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.PermissionDenied ||
        error instanceof SyntaxError
      ) return [];
      throw error;
    }
    for (const [file, bytes] of files) {
      Deno.writeFileSync(join(to, file), bytes);
    }
    return files.map(([file]) => file);
  }
}

/** Bytes of compiled functions that are kept; those that were used least recently go first. */
const MAX_BYTES = 2 ** 30;

/** Largest file that is kept. */
const MAX_FILE_BYTES = 2 ** 26;

/**
 * Keeps what a process has compiled, for later ones.
 *
 * @param maxBytes Bytes of compiled functions to keep, of all engines.
 */
export function keepCompiled(
  { kept, own }: CompiledFolders,
  maxBytes = MAX_BYTES,
): void {
  let names: string[];
  try {
    names = [...Deno.readDirSync(join(own, FUNCTIONS_FOLDER))]
      .filter((it) => it.isDirectory && NAME.test(it.name))
      .map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return; // It has called no function.
    throw error;
  }
  let isNew = false;
  for (const name of names) {
    const folder = join(own, FUNCTIONS_FOLDER, name);
    const files = filesIn(folder);
    if (files.length === 0) touch(join(kept, name, INDEX));
    else {
      keep(folder, files, join(kept, name));
      isNew = true;
    }
  }
  if (isNew) trim(dirname(kept), maxBytes);
}

function keep(from: string, files: readonly string[], to: string): void {
  const temporary = join(dirname(to), `.${crypto.randomUUID()}`);
  Deno.mkdirSync(temporary, { recursive: true });
  try {
    const index: Record<string, string> = {};
    for (const file of files) {
      const path = join(from, file);
      if (Deno.lstatSync(path).size > MAX_FILE_BYTES) return;
      const bytes = Deno.readFileSync(path);
      Deno.writeFileSync(join(temporary, file), bytes);
      index[file] = digestOf(bytes);
    }
    Deno.writeTextFileSync(join(temporary, INDEX), JSON.stringify(index));
    // What is there was damaged, lacked a function, or comes from a process that ran at the same time.
    removeIfThere(to);
    Deno.renameSync(temporary, to);
  } finally {
    removeIfThere(temporary);
  }
}

function touch(path: string): void {
  try {
    const now = new Date();
    Deno.utimeSync(path, now, now);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Milliseconds after which a folder that has no index yet was left by a process that was killed. */
const LONGEST_COPY = 60 * 60 * 1000;

/** Removes the functions that were used least recently, of all engines, until the others are small enough. */
function trim(root: string, maxBytes: number): void {
  const found: { path: string; bytes: number; used: number }[] = [];
  for (const engine of Deno.readDirSync(root)) {
    for (const { name } of Deno.readDirSync(join(root, engine.name))) {
      const path = join(root, engine.name, name);
      try {
        const sizes = filesIn(path).map((it) => Deno.lstatSync(join(path, it)));
        const bytes = sizes.reduce((sum, { size }) => sum + size, 0);
        const used = Math.max(...sizes.map(({ mtime }) => Number(mtime)));
        if (!name.startsWith(".")) found.push({ path, bytes, used });
        else if (used < Date.now() - LONGEST_COPY) removeIfThere(path);
      } catch (error) {
        // Another process has removed it.
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  }
  found.sort((a, b) => b.used - a.used);
  let total = 0;
  for (const { path, bytes } of found) {
    total += bytes;
    if (total > maxBytes) removeIfThere(path);
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
