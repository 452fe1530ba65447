import { systemCode, writeFault } from "../files/files.ts";

/** Cause of a failed installation, for code to branch on. */
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

/** A failure with what the user can do about it; the message has the problem and, on a second line, the remedy. */
export class RemediedError<Code extends string> extends Error {
  constructor(
    readonly code: Code,
    readonly problem: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem}\n${remedy}`, options);
  }
}

/** A failed installation. */
export class InstallError extends RemediedError<InstallErrorCode> {
  override readonly name = "InstallError";
}

/** @throws {InstallError} `interrupted`, if `signal` is aborted. */
export function throwIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new InstallError(
      "interrupted",
      "The installation was interrupted and left nothing behind",
      "Run the command again to start it over",
    );
  }
}

/** Turns a full disk or a missing permission into an {@linkcode InstallError}; returns any other error unchanged. */
export function explainFileError(error: unknown, folder: string): unknown {
  const fault = writeFault(error);
  if (fault !== "not-writable") return fault ? diskFull(folder, error) : error;
  return new InstallError(
    fault,
    `Cannot write to "${folder}" (${systemCode(error)})`,
    "Make the folder writable, or set DYLORA_CACHE to another folder",
    { cause: error },
  );
}

/** The error of a disk that has no space left. */
export function diskFull(folder: string, cause?: unknown): InstallError {
  return new InstallError(
    "disk-full",
    `No space left on the disk of "${folder}"`,
    "Free some space, or set DYLORA_CACHE to a folder on another disk",
    { cause },
  );
}
