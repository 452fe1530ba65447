/** An advisory lock that the kernel releases when its process ends, however it ends. */
export interface Lock extends Disposable {
  readonly path: string;
}

/** How a lock is asked for. */
export interface LockOptions {
  /** Many may hold it at once, unless one holds it alone. */
  readonly shared?: boolean;
  /** Called once if another holds it, with what that one wrote into it. */
  readonly onWait?: (holder: string) => void;
  /** Ends the waiting. */
  readonly signal?: AbortSignal;
}

/** Locks that this process holds alone. */
const held = new Set<string>();

/** True if it is this process itself that holds the lock. */
export function isHeldHere(path: string): boolean {
  return held.has(path);
}

/** Milliseconds between two tries. */
const FIRST_PAUSE = 5;
const LAST_PAUSE = 100;

/** Takes a lock, waiting for whoever holds it. */
export async function lockFile(
  path: string,
  options: LockOptions = {},
): Promise<Lock> {
  let told = false;
  for (let pause = FIRST_PAUSE;; pause = Math.min(2 * pause, LAST_PAUSE)) {
    options.signal?.throwIfAborted();
    const lock = tryLockFile(path, options);
    if (lock !== undefined) return lock;
    if (!told) options.onWait?.(lockHolder(path));
    told = true;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Takes a lock if nobody holds it.
 *
 * @throws {Deno.errors.NotFound} If there is no such file, and `create` is false.
 */
export function tryLockFile(
  path: string,
  options: Pick<LockOptions, "shared"> & { readonly create?: boolean } = {},
): Lock | undefined {
  for (;;) {
    const file = Deno.openSync(path, {
      read: true,
      write: true,
      create: options.create !== false,
    });
    if (!file.tryLockSync(options.shared !== true)) {
      file.close();
      return undefined;
    }
    // A clean-up may have removed the file between the opening and the locking.
    if (!isStill(file, path)) {
      file.close();
      continue;
    }
    if (options.shared === true) {
      return { path, [Symbol.dispose]: () => file.close() };
    }
    file.truncateSync();
    file.writeSync(new TextEncoder().encode(`process ${Deno.pid}`));
    held.add(path);
    return {
      path,
      [Symbol.dispose]: () => {
        held.delete(path);
        file.close();
      },
    };
  }
}

/** What the holder of a lock wrote into it: `process 1234`. */
export function lockHolder(path: string): string {
  try {
    return Deno.readTextFileSync(path).trim() || "another process";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "another process";
    throw error;
  }
}

function isStill(file: Deno.FsFile, path: string): boolean {
  try {
    return file.statSync().ino === Deno.statSync(path).ino;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
