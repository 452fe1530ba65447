import { isFull, isReadOnly } from "../store/files.ts";
import type { Store } from "../store/store.ts";

/** Thrown when a stage fails. The message is meant for the user. */
export class StageFailure extends Error {
  override readonly name = "StageFailure";
  /** Kind of the failure, if it is distinguished. */
  readonly code?: "output-missing";

  constructor(
    message: string,
    options: ErrorOptions & { readonly code?: "output-missing" } = {},
  ) {
    super(message, options);
    if (options.code !== undefined) this.code = options.code;
  }
}

/** Thrown when something that a stage's key depends on has changed since the key was computed. The message says what. */
export class MovedError extends Error {
  override readonly name = "MovedError";
}

/** Thrown when a job goes on without this scheduler; a later run takes it up. */
export class LeftError extends Error {
  override readonly name = "LeftError";
}

/** Thrown when another process holds what a stage needs, and `Settings.wait` is false. */
export class BusyError extends Error {
  override readonly name = "BusyError";
}

/** Message of an error. For disk errors, it names the cache and the remedy; for bugs, it has the stack. */
export function messageOf(error: unknown, store: Store): string {
  if (!(error instanceof Error)) return String(error);
  if (isFull(error)) {
    return `No space left on the disk of "${store.folder}"; free some, or clean up the cache with a smaller limit`;
  }
  if (isReadOnly(error)) {
    return `The cache "${store.folder}" is not writable, so no stage can run: ${error.message}`;
  }
  const isBug = error instanceof TypeError || error instanceof ReferenceError;
  return isBug ? error.stack ?? error.message : error.message;
}

/**
 * Calls a function that uses the cache. If the disk is full or not writable, the
 * error thrown has the message of {@linkcode messageOf}.
 */
export async function withCache<T>(
  store: Store,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isFull(error) && !isReadOnly(error)) throw error;
    throw new Error(messageOf(error, store), { cause: error });
  }
}
