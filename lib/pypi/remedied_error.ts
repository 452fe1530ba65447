import { isFull, isWriteFault } from "../files/files.ts";

/**
 * A failure with what the user can do about it; the message has the problem
 * and, on a second line, the remedy.
 */
export class RemediedError extends Error {
  override readonly name = "RemediedError";

  constructor(
    readonly problem: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem}\n${remedy}`, options);
  }
}

/**
 * Turns a full disk or a missing permission into a {@linkcode RemediedError};
 * returns any other error unchanged.
 *
 * @param variable Environment variable that chooses the folder.
 */
export function explainWriteFault(
  error: unknown,
  folder: string,
  variable: string,
): unknown {
  if (isFull(error)) {
    return new RemediedError(
      `No space left on the disk of "${folder}"`,
      `Free some space, or set ${variable} to a folder on another disk`,
      { cause: error },
    );
  }
  if (!isWriteFault(error)) return error;
  return new RemediedError(
    `Cannot write to "${folder}": ${(error as Error).message}`,
    `Make the folder writable, or set ${variable} to another folder`,
    { cause: error },
  );
}
