/** What went wrong with an installation, for code; the message says it for people. */
export type InstallErrorCode =
  | "no-pip"
  | "old-pip"
  | "network"
  | "certificate"
  | "credentials"
  | "not-found"
  | "wrong-hash"
  | "broken-wheel"
  | "disk-full"
  | "not-writable"
  | "unsupported"
  | "not-loadable"
  | "interrupted"
  | "pip";

/**
 * An installation that cannot go on: what happened, and what to do about it.
 *
 * `message` holds both, a line each.
 */
export class InstallError extends Error {
  override readonly name = "InstallError";

  constructor(
    readonly code: InstallErrorCode,
    /** What happened. */
    readonly problem: string,
    /** What the user can do about it. */
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem}\n${remedy}`, options);
  }
}

/** Throws the error of an interrupted installation if `signal` is aborted. */
export function throwIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new InstallError(
      "interrupted",
      "The installation was interrupted; nothing of it was kept",
      "Start it again when you like",
    );
  }
}

/** Turns the file system's refusals (disk full, no permission) into advice; other errors come back as they are. */
export function explainFileError(error: unknown, folder: string): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (code === "ENOSPC" || code === "EDQUOT") return diskFull(folder, error);
  if (
    code === "EACCES" || code === "EPERM" || code === "EROFS" ||
    code === "ENOTDIR"
  ) {
    return new InstallError(
      "not-writable",
      `Cannot write to "${folder}" (${code})`,
      "Make the folder writable, or name another one in DYLORA_CACHE",
      { cause: error },
    );
  }
  return error;
}

/** The error of a disk that filled up. */
export function diskFull(folder: string, cause?: unknown): InstallError {
  return new InstallError(
    "disk-full",
    `No space left on the disk that holds "${folder}"`,
    "Free some space, or name a folder on another disk in DYLORA_CACHE",
    { cause },
  );
}
