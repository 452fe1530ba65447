import { join } from "node:path";
import { fingerprint } from "../store/fingerprint.ts";
import { type Lock, tryLockFile } from "../store/locks.ts";
import { checkGpus } from "./limits.ts";

/** Milliseconds between two looks for a free GPU. */
const PAUSE = 100;

/** GPUs that no other stage on this machine uses until they are given back. */
export interface HeldGpus extends Disposable {
  readonly ids: readonly string[];
}

/**
 * Takes GPUs for one stage, waiting until so many are free. Each is a lock
 * that all pipelines of this machine share.
 *
 * @param ids All that may be taken.
 * @throws {StageFailure} If these are too few.
 */
export async function takeGpus(
  count: number,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<HeldGpus> {
  checkGpus(count, ids);
  const folder = lockFolder();
  for (;;) {
    signal.throwIfAborted();
    const held: { id: string; lock: Lock }[] = [];
    for (const id of ids) {
      if (held.length === count) break;
      const lock = tryLockFile(lockPath(folder, id), { create: false });
      if (lock !== undefined) held.push({ id, lock });
    }
    const release = () => held.forEach(({ lock }) => lock[Symbol.dispose]());
    if (held.length === count) {
      return { ids: held.map(({ id }) => id), [Symbol.dispose]: release };
    }
    // All or none, so that two stages cannot each hold half of what both need.
    release();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

/** The folder of locks, which all users of the machine share. */
function lockFolder(): string {
  const folder = "/tmp/dylora-gpus";
  if (fingerprint(folder) === undefined) {
    unlessThere(() => {
      Deno.mkdirSync(folder);
      Deno.chmodSync(folder, 0o1777);
    });
  }
  return folder;
}

/** The lock file of a GPU, which every user may open once it is made. */
function lockPath(folder: string, id: string): string {
  const path = join(folder, `gpu-${encodeURIComponent(id)}`);
  if (fingerprint(path) === undefined) {
    unlessThere(() => {
      Deno.openSync(path, { write: true, createNew: true }).close();
      Deno.chmodSync(path, 0o666);
    });
  }
  return path;
}

/** Makes something, unless another process was faster. */
function unlessThere(make: () => void): void {
  try {
    make();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}
