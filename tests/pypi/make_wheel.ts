import { createHash } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  TextReader,
  Uint8ArrayReader,
  Uint8ArrayWriter,
  ZipWriter,
} from "@zip.js/zip.js";

/**
 * A folder of wheels for pip's variable `PIP_FIND_LINKS`, which separates
 * values by spaces.
 */
export function findLinks(folder: string): string {
  return pathToFileURL(folder).href;
}

/** Writes a wheel that pip accepts, with these files. */
export async function makeWheel(
  folder: string,
  file: string,
  members: Readonly<Record<string, string | Uint8Array>>,
  executable: readonly string[] = [],
): Promise<{ path: string; sha256: string; bytes: number }> {
  const [name, version, python, abi, platforms] = file.replace(/\.whl$/, "")
    .split("-");
  const info = `${name}-${version}.dist-info`;
  const zip = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
  const all = {
    ...members,
    [`${info}/METADATA`]:
      `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nRoot-Is-Purelib: false\n${
      platforms!.split(".").map((platform) =>
        `Tag: ${python}-${abi}-${platform}\n`
      ).join(
        "",
      )
    }`,
    [`${info}/RECORD`]: "",
  };
  for (const [path, content] of Object.entries(all)) {
    const reader = typeof content === "string"
      ? new TextReader(content)
      : new Uint8ArrayReader(content);
    await zip.add(path, reader, {
      unixMode: executable.includes(path) ? 0o100755 : 0o100644,
    });
  }
  const bytes = await zip.close();
  const path = join(folder, file);
  await Deno.writeFile(path, bytes);
  return {
    path,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    bytes: bytes.length,
  };
}
