import { throwIfInterrupted } from "../../pypi/install_error.ts";

/**
 * Takes a lock that one process holds at a time; the kernel releases it when
 * the process dies, so no lock is ever stale.
 *
 * @param onWait Called once if another process holds the lock.
 * @returns To be disposed of: that releases the lock.
 */
export async function takeLock(
  path: string,
  onWait: () => void,
  signal?: AbortSignal,
): Promise<Disposable> {
  const file = await Deno.open(path, { create: true, write: true });
  try {
    if (!await file.tryLock(true)) {
      onWait();
      do {
        throwIfInterrupted(signal);
        await new Promise((resolve) => setTimeout(resolve, 100));
      } while (!await file.tryLock(true));
    }
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}
