import { createHash } from "node:crypto";
import { join } from "node:path";
import { InstallError } from "../../pypi/install_error.ts";
import { readMarker } from "./marker.ts";

/**
 * Hashes the files of an installation and compares them with its record.
 *
 * @returns Bytes of all files.
 * @throws {InstallError} `not-loadable`, if it is missing or damaged.
 */
export async function checkFiles(folder: string): Promise<number> {
  const marker = readMarker(folder);
  if (marker === undefined) {
    throw new InstallError(
      "not-loadable",
      `The engine's library is not installed in "${folder}"`,
      "Install it: deno task setup",
    );
  }
  let total = 0;
  for (const { path, bytes, sha256 } of marker.files) {
    if (await hashOf(join(folder, path)) !== sha256) {
      throw new InstallError(
        "not-loadable",
        `"${path}" in "${folder}" is missing or was changed since it was installed`,
        `Remove the folder and install it again: deno task setup`,
      );
    }
    total += bytes;
  }
  return total;
}

async function hashOf(path: string): Promise<string | undefined> {
  const hash = createHash("sha256");
  try {
    using file = await Deno.open(path);
    for await (const chunk of file.readable) hash.update(chunk);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return hash.digest("hex");
}
