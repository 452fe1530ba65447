import { join } from "node:path";
import { findPip } from "../../lib/pypi/pip.ts";

/** Creates a folder with a program `python3` that runs a shell script. */
export async function fakePython(
  folder: string,
  script: string,
): Promise<string> {
  await Deno.mkdir(folder, { recursive: true });
  const path = join(folder, "python3");
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

let real: Promise<string> | undefined;

/** The real pip with further settings: `{ PIP_NO_INDEX: "1" }`. */
export async function pipWith(
  folder: string,
  settings: Readonly<Record<string, string>>,
): Promise<string> {
  const python = await (real ??= findPip());
  const lines = Object.entries(settings).map(([name, value]) =>
    `export ${name}='${value}'`
  );
  const script = [...lines, `exec "${python}" "$@"`].join("\n");
  return await fakePython(folder, script);
}
