import { existsSync } from "node:fs";
import { UsageError } from "../arguments/arguments.ts";
import { checkFolder, shortPath } from "../arguments/options.ts";

/**
 * Creates the folder that `--to` names. It appears when it is complete.
 *
 * @param output Absolute path
 * @param write Gets a temporary folder; resolves to the folder in it that is to be moved.
 * @throws {UsageError} If it exists, or cannot be created.
 */
export async function createFolder(
  output: string,
  write: (temporary: string) => Promise<string>,
): Promise<void> {
  const temporary = `${output}.incomplete`;
  const present = [output, temporary].find((it) => existsSync(it));
  if (present !== undefined) {
    throw new UsageError(
      `"${
        shortPath(present)
      }" already exists: remove it, or choose another folder with --to`,
    );
  }
  checkFolder(output, "to");
  Deno.mkdirSync(temporary, { recursive: true });
  try {
    Deno.renameSync(await write(temporary), output);
  } finally {
    Deno.removeSync(temporary, { recursive: true });
  }
}
