import { isFull, isReadOnly } from "../store/files.ts";
import type { Store } from "../store/store.ts";

/** A stage's run that failed, in words for the user. */
export class StageFailure extends Error {
  override readonly name = "StageFailure";
  /** What kind of failure it is, where that matters. */
  readonly code?: "output-missing";

  constructor(
    message: string,
    options: ErrorOptions & { readonly code?: "output-missing" } = {},
  ) {
    super(message, options);
    if (options.code !== undefined) this.code = options.code;
  }
}

/** A stage was to run, but what its key was made from has changed meanwhile: the message says what. */
export class MovedError extends Error {
  override readonly name = "MovedError";
}

/** Another process runs the stage, and waiting was not wanted. */
export class BusyError extends Error {
  override readonly name = "BusyError";
}

/** An error in words that say what to do about it. */
export function inWords(error: unknown, store: Store): string {
  if (!(error instanceof Error)) return String(error);
  if (isFull(error)) {
    return `No space is left on the disk of "${store.folder}"; free some, or clean up the cache with a smaller limit`;
  }
  if (isReadOnly(error)) {
    return `"${store.folder}" cannot be written, so nothing can be run: ${error.message}`;
  }
  return isBug(error) ? error.stack ?? error.message : error.message;
}

/**
 * Does something with the cache; an error of the disk is thrown on in words.
 *
 * @throws {Error} Whatever the work throws.
 */
export async function withCache<T>(
  store: Store,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isFull(error) && !isReadOnly(error)) throw error;
    throw new Error(inWords(error, store), { cause: error });
  }
}

/** True for errors that only a fault of this program can cause. */
function isBug(error: Error): boolean {
  return error instanceof TypeError || error instanceof ReferenceError;
}
