/**
 * The operating system's number of an error, for those that the runtime has no
 * class for. The numbers used here are the same on Linux and macOS.
 */
export function osError(error: unknown): number | undefined {
  const found = error instanceof Error &&
    /\(os error (\d+)\)/.exec(error.message);
  return found ? Number(found[1]) : undefined;
}

/** No such process. */
export const ESRCH = 3;
/** Input or output failed: of a terminal, that it is gone. */
export const EIO = 5;
const ENOSPC = 28;
const EROFS = 30;
const EDQUOT = Deno.build.os === "darwin" ? 69 : 122;

/** True if the error says that a disk is full. */
export function isFull(error: unknown): boolean {
  const number = osError(error);
  return number === ENOSPC || number === EDQUOT;
}

/** True if the error says that a file system or folder cannot be written. */
export function isReadOnly(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied ||
    osError(error) === EROFS;
}
