/** What kept a file of the hub from being fetched, for code; the message says it for people. */
export type HubErrorCode =
  | "not-found"
  | "refused"
  | "busy"
  | "unreachable"
  | "offline"
  | "damaged"
  | "disk-full"
  | "not-writable";

/** A file of the hub that cannot be had: what happened and, on a second line, what to do about it. */
export class HubError extends Error {
  override readonly name = "HubError";

  constructor(
    readonly code: HubErrorCode,
    problem: string,
    remedy: string,
    options?: ErrorOptions,
  ) {
    super(`${problem}\n${remedy}`, options);
  }
}

/** Turns the file system's refusals (disk full, no permission) into advice; other errors come back as they are. */
export function explainFileError(error: unknown, folder: string): unknown {
  switch ((error as { code?: unknown } | null)?.code) {
    case "ENOSPC":
    case "EDQUOT":
      return new HubError(
        "disk-full",
        `No space left on the disk of the hub's cache "${folder}"`,
        "Free some space (hf cache lists what is in it), or name a folder on another disk in HF_HUB_CACHE",
        { cause: error },
      );
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENOTDIR":
      return new HubError(
        "not-writable",
        `Cannot write to the hub's cache "${folder}": ${
          (error as Error).message
        }`,
        "Make the folder writable, or name another one in HF_HUB_CACHE",
        { cause: error },
      );
    default:
      return error;
  }
}
