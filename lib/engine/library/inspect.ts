import { z } from "zod";
import { InstallError } from "../../pypi/install_error.ts";
import { explainLoadFailure } from "./load_failure.ts";
import type { Inspection } from "./inspection.ts";

const Inspection = z.strictObject({
  version: z.string(),
  devices: z.array(z.string()).nonempty(),
});

/**
 * Loads libtensorflow in a process of its own and asks for its version and devices.
 *
 * @param folder Folder that holds the library's files.
 * @param env Environment variables that the process gets besides its own.
 * @throws {InstallError} `not-loadable`, with the remedy.
 */
export async function inspectLibrary(
  folder: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Inspection> {
  const { success, signal, stdout, stderr } = await new Deno.Command(
    Deno.execPath(),
    {
      args: [
        ...["run", "--quiet", "--no-prompt", "--no-config", "--allow-ffi"],
        ...[
          `--allow-read=${folder}`,
          new URL("inspection.ts", import.meta.url).href,
          folder,
        ],
      ],
      env: { ...env, NO_COLOR: "1" },
      stdin: "null",
    },
  ).output();
  const text = new TextDecoder().decode(stdout);
  if (success) {
    return Inspection.parse(JSON.parse(text.trim().split("\n").at(-1)!));
  }
  throw explainLoadFailure(new TextDecoder().decode(stderr), signal, folder);
}

/**
 * Checks that a library just unpacked can be loaded here.
 *
 * @throws {InstallError} `not-loadable`, with the remedy.
 */
export async function verifyLibrary(
  folder: string,
  version: string,
): Promise<void> {
  const inspection = await inspectLibrary(folder);
  if (inspection.version !== version) {
    throw new InstallError(
      "not-loadable",
      `The library says it is release ${inspection.version}, not ${version}`,
      "The package index gave another file: look at pip's settings (python3 -m pip config list)",
    );
  }
}
