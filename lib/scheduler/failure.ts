import { isFull, isReadOnly, systemPaths } from "../files/files.ts";
import type { Store } from "../store/store.ts";

/**
 * Thrown when another process holds what a stage needs, and `Settings.wait` is
 * false.
 */
export class BusyError extends Error {
  override readonly name = "BusyError";
}

/** Thrown when the cache lacks the result of a stage that a command reads. */
export class NoResultError extends Error {
  override readonly name = "NoResultError";

  /**
   * @param id The stage whose result is read.
   * @param fault The stage whose result is missing, which is this one or one
   * that it needs, and the reason.
   */
  constructor(readonly id: string, fault: Record<"stage" | "reason", string>) {
    const { stage, reason } = fault;
    const why = stage === id ? reason : `${stage}: ${reason}`;
    super(
      reason === "no earlier result"
        ? `Stage "${id}" has no result yet`
        : `Stage "${id}" has no up-to-date result (${why})`,
    );
  }
}

/**
 * Message of an error. For disk errors, it names the cache and the remedy; for
 * bugs, it has the stack.
 */
export function messageOf(error: unknown, store: Store): string {
  if (!(error instanceof Error)) return String(error);
  // The first error is the cause; the other one comes from the clean-up after
  // it.
  if (error instanceof SuppressedError) {
    return messageOf(error.suppressed, store);
  }
  return diskMessage(error, store) ?? fullMessage(error);
}

/** The message of an error; of a bug of the program, its stack trace. */
export function fullMessage(error: Error): string {
  const isBug = error instanceof TypeError || error instanceof ReferenceError;
  return isBug ? error.stack ?? error.message : error.message;
}

/**
 * Message of an error of the disk or of the cache on it; undefined for other
 * errors.
 */
function diskMessage(error: Error, { folder }: Store): string | undefined {
  const { message } = error;
  if (isFull(error)) {
    return `No space left on the disk of "${folder}"; free some space, or clean up the cache: deno task cache gc --cache-limit SIZE`;
  }
  if (isReadOnly(error)) {
    // Of a rename, the last path is its target.
    const denied = systemPaths(error).at(-1) ?? folder;
    if (!isBelow(denied, folder)) {
      return `"${denied}" cannot be read or written; change its permissions, or move it away: ${message}`;
    }
    return `The cache "${folder}" is not writable, so no stage can run: ${message}`;
  }
  if (
    error instanceof Deno.errors.NotFound &&
    systemPaths(error).some((path) => isBelow(path, folder))
  ) {
    return `Part of the cache "${folder}" was removed during the run; run again: ${message}`;
  }
  return undefined;
}

/** True for a folder itself and what is in it. */
function isBelow(path: string, folder: string): boolean {
  return `${path}/`.startsWith(`${folder}/`);
}

/**
 * Calls a function that uses the cache. For errors of the disk, the error
 * thrown has the message of {@linkcode messageOf}.
 */
export async function withCache<T>(
  store: Store,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const first = error instanceof SuppressedError ? error.suppressed : error;
    const message = first instanceof Error && diskMessage(first, store);
    // An error with a cause has such a message already.
    if (!message || first.cause !== undefined) throw error;
    throw new Error(message, { cause: error });
  }
}
