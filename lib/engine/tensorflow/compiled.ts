import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { entriesOf, ifThere } from "../../files/files.ts";

/**
 * Folders through which processes share the functions that XLA has compiled.
 */
export interface CompiledFolders {
  /**
   * What earlier processes have compiled, a folder for each function; only
   * read. A file is named by its SHA-256, and as the library names it.
   */
  readonly before: string;
  /** A folder of this process, for what it compiles. */
  readonly now: string;
}

/**
 * Folder, below {@linkcode CompiledFolders.now}, in which the library looks for
 * functions and writes them.
 */
const LIBRARY_FOLDER = "library";
/**
 * Folder, below {@linkcode CompiledFolders.now}, of what was compiled or used,
 * by function.
 */
const FUNCTIONS_FOLDER = "functions";

/** Matches the names of functions; see `TensorflowBinding.endTrace()`. */
const NAME = /^traced_[0-9a-f]{32}$/;

/**
 * Names of the files in a folder; none if it does not exist. Links are none: a
 * stage could point them anywhere.
 */
function filesIn(folder: string): string[] {
  return entriesOf(folder).filter(({ isFile }) => isFile)
    .map(({ name }) => name).sort();
}

/**
 * Compiled functions for the library, which compiles whatever it finds no file
 * of. A file does not change what a function computes: it contains the code
 * that the library made for the same operations on the same kind of processor,
 * and the library compares the operations.
 */
export class CompiledFunctions {
  constructor(private readonly folders: CompiledFolders) {
    for (const folder of [LIBRARY_FOLDER, FUNCTIONS_FOLDER]) {
      Deno.mkdirSync(join(folders.now, folder), { recursive: true });
    }
  }

  /** Environment variables of the library, to set before it is loaded. */
  static environment({ now }: CompiledFolders): Record<string, string> {
    return {
      TF_XLA_FLAGS: `--tf_xla_persistent_cache_directory="${
        join(now, LIBRARY_FOLDER).replaceAll(/["\\]/g, "\\$&")
      }"`,
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
    const library = join(this.folders.now, LIBRARY_FOLDER);
    const earlierFiles = new Set<string>();
    for (const [name, compile] of functions) {
      const folder = join(this.folders.now, FUNCTIONS_FOLDER, name);
      Deno.mkdirSync(folder);
      const copied = this.#copyKept(name, library);
      for (const file of copied) earlierFiles.add(file);
      // An empty folder records a hit.
      if (copied.length > 0) continue;
      compile();
      for (const file of filesIn(library)) {
        if (earlierFiles.has(file)) continue;
        Deno.copyFileSync(join(library, file), join(folder, file));
        earlierFiles.add(file);
      }
    }
    const result = call();
    for (const file of filesIn(library)) Deno.removeSync(join(library, file));
    return result;
  }

  /**
   * Copies the files that were kept of a function, but for those that have
   * changed, and returns their names.
   */
  #copyKept(name: string, to: string): string[] {
    const folder = join(this.folders.before, name);
    try {
      return filesIn(folder).flatMap((kept) => {
        const [, sha256, file] = /^([0-9a-f]{64})\.(.+)$/.exec(kept) ?? [];
        if (file === undefined) return [];
        const bytes = Deno.readFileSync(join(folder, kept));
        if (digestOf(bytes) !== sha256) return [];
        Deno.writeFileSync(join(to, file), bytes);
        return [file];
      });
    } catch (error) {
      // It was removed, or made again where a confined process may not read: it
      // is compiled again.
      if (
        error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.PermissionDenied
      ) return [];
      throw error;
    }
  }
}

/**
 * Bytes of compiled functions that are kept; those that were used least
 * recently go first.
 */
const MAX_BYTES = 2 ** 30;

/** Largest file that is kept. */
const MAX_FILE_BYTES = 2 ** 26;

/**
 * Keeps what a process has compiled, for later ones.
 *
 * @param maxBytes Bytes of compiled functions to keep, of all engines.
 */
export function keepCompiled(
  { before, now }: CompiledFolders,
  maxBytes = MAX_BYTES,
): void {
  const functions = join(now, FUNCTIONS_FOLDER);
  let isNew = false;
  for (const { name, isDirectory } of entriesOf(functions)) {
    if (!isDirectory || !NAME.test(name)) continue;
    const from = join(functions, name);
    const to = join(before, name);
    const files = filesIn(from);
    for (const file of files) keep(join(from, file), to);
    isNew ||= files.length > 0;
    // It has used what was kept.
    const time = new Date();
    for (const it of files.length === 0 ? filesIn(to) : []) {
      ifThere(() => Deno.utimeSync(join(to, it), time, time));
    }
  }
  if (isNew) trim(dirname(before), maxBytes);
}

function keep(path: string, to: string): void {
  if (Deno.lstatSync(path).size > MAX_FILE_BYTES) return;
  const bytes = Deno.readFileSync(path);
  const temporary = join(to, `.${crypto.randomUUID()}`);
  Deno.mkdirSync(to, { recursive: true });
  ifThere(() => {
    Deno.writeFileSync(temporary, bytes);
    Deno.renameSync(
      temporary,
      join(to, `${digestOf(bytes)}.${basename(path)}`),
    );
  });
}

/**
 * Removes the functions that were used least recently, of all engines, until
 * the others are small enough.
 */
function trim(root: string, maxBytes: number): void {
  const functions = entriesOf(root).map(({ name }) => join(root, name))
    .flatMap((engine) =>
      entriesOf(engine).map(({ name }) => join(engine, name))
    )
    .map((path) => {
      const files = filesIn(path).flatMap((it) =>
        ifThere(() => Deno.lstatSync(join(path, it))) ?? []
      );
      const bytes = files.reduce((sum, { size }) => sum + size, 0);
      const used = Math.max(0, ...files.map(({ mtime }) => Number(mtime)));
      return { path, bytes, used };
    }).sort((a, b) => b.used - a.used);
  let total = 0;
  for (const { path, bytes } of functions) {
    total += bytes;
    if (total <= maxBytes) continue;
    ifThere(() => Deno.removeSync(path, { recursive: true }));
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
