import { ifThere, readIfThere } from "./files.ts";

/**
 * An advisory file lock. The kernel releases it when the process ends, for
 * whatever reason.
 */
export type Lock = Disposable;

/** Options of {@linkcode lockFile}. */
interface LockOptions {
  /** True for a shared (reader) lock; by default, it is exclusive. */
  readonly shared?: boolean;
  /**
   * Called once if another process holds the exclusive lock, with its name:
   * `process 1234`.
   */
  readonly onWait?: (holder: string) => void;
  /** Cancels waiting. */
  readonly signal?: AbortSignal | undefined;
}

/** Paths of the exclusive locks that this process holds. */
const held = new Set<string>();

/** True if this process holds the exclusive lock. */
export function isHeldHere(path: string): boolean {
  return held.has(path);
}

/** Milliseconds between two tries: doubled from the first to the last value. */
const FIRST_PAUSE = 5;
const LAST_PAUSE = 100;

/** Takes a lock, waiting until it is free. The file is created if needed. */
export async function lockFile(
  path: string,
  options: LockOptions = {},
): Promise<Lock> {
  let told = false;
  for (let pause = FIRST_PAUSE;; pause = Math.min(2 * pause, LAST_PAUSE)) {
    options.signal?.throwIfAborted();
    const lock = tryLockFile(path, options);
    if (lock !== undefined) return lock;
    // A process that asks whether it is locked does not hold it.
    if (!told && options.onWait !== undefined && isLocked(path)) {
      options.onWait(lockHolder(path));
      told = true;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Takes a lock if it is free; else returns undefined.
 *
 * @throws {Deno.errors.NotFound} If the file does not exist and `create` is
 * false.
 */
export function tryLockFile(
  path: string,
  options: Pick<LockOptions, "shared"> & { readonly create?: boolean } = {},
): Lock | undefined {
  const { shared = false, create = true } = options;
  // A shared lock of a file that exists can be taken without the right to
  // write.
  const write = !shared || create;
  for (;;) {
    // Closed unless it is locked: else this process would hold, and wait for, a
    // lock that nobody releases.
    using opened = new DisposableStack();
    const file = opened.use(
      Deno.openSync(path, { read: true, write, create }),
    );
    if (!file.tryLockSync(!shared)) return undefined;
    // A clean-up may have removed the file after it was opened.
    if (!isStill(file, path)) continue;
    // Closing alone does not release it: a process that another thread starts
    // has a copy of the open file until it runs its program.
    opened.defer(() => file.unlockSync());
    if (!shared) {
      file.truncateSync();
      file.writeSync(new TextEncoder().encode(`process ${Deno.pid}`));
      held.add(path);
      opened.defer(() => held.delete(path));
    }
    return opened.move();
  }
}

/**
 * True if a process holds the exclusive lock. To find out, this process holds a
 * shared one for a moment.
 */
export function isLocked(path: string): boolean {
  return ifThere(() => {
    using lock = tryLockFile(path, { shared: true, create: false });
    return lock === undefined;
  }) ?? false;
}

/**
 * Holder of an exclusive lock, as it is written in the file: `process 1234`.
 */
export function lockHolder(path: string): string {
  return readIfThere(path)?.trim() || "another process";
}

function isStill(file: Deno.FsFile, path: string): boolean {
  const there = ifThere(() => Deno.statSync(path));
  if (there === undefined) return false;
  const opened = file.statSync();
  return opened.ino === there.ino && opened.dev === there.dev;
}
