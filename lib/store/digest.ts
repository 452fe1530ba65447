import { createHash } from "node:crypto";

const CHUNK = 1 << 20;

/** SHA-256 of text or bytes, as 64 hexadecimal digits. */
export function digest(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/** True if the text is a digest. */
export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/**
 * SHA-256 of a file, read in pieces so that files may be larger than memory.
 * With `copy`, every piece is also written there: the digest is that of the
 * bytes written.
 */
export async function digestFile(
  path: string,
  copy?: Deno.FsFile,
): Promise<{ readonly blob: string; readonly size: number }> {
  using file = await Deno.open(path);
  const hash = createHash("sha256");
  const buffer = new Uint8Array(
    Math.min(CHUNK, Math.max(1, (await file.stat()).size + 1)),
  );
  let size = 0;
  for (;;) {
    const read = await file.read(buffer);
    if (read === null) break;
    const piece = buffer.subarray(0, read);
    hash.update(piece);
    if (copy !== undefined) await writeAll(copy, piece);
    size += read;
  }
  return { blob: hash.digest("hex"), size };
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await file.write(bytes.subarray(done));
  }
}
