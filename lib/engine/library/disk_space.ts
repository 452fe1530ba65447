import { statfs } from "node:fs/promises";
import { InstallError } from "../../pypi/install_error.ts";
import type { LibraryBuild } from "./build.ts";

/**
 * Refuses an installation that would fill the disk.
 *
 * @throws {InstallError} `disk-full`
 */
export async function checkSpace(
  build: LibraryBuild,
  cache: string,
): Promise<void> {
  const needed = spaceNeeded(build);
  const { bavail, bsize } = await statfs(cache);
  const free = bavail * bsize;
  if (free < needed) {
    throw new InstallError(
      "disk-full",
      `The library needs ${
        megabytes(needed)
      } MB of disk while it is installed, and the disk that holds "${cache}" has ${
        megabytes(free)
      } MB free`,
      "Free some space, or name a folder on another disk in DYLORA_CACHE",
    );
  }
}

/** Bytes in use at the fullest moment: wheels are fetched, unpacked and removed one by one. */
function spaceNeeded({ wheels }: LibraryBuild): number {
  let kept = 0;
  let most = 0;
  for (const { bytes, unpacked } of wheels) {
    // pip copies a finished download once more before it removes the first.
    most = Math.max(most, kept + 2 * bytes, kept + bytes + unpacked);
    kept += unpacked;
  }
  return most;
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}
