import type { Hash } from "node:crypto";
import { sha256 } from "./sha256.ts";

/** Bytes read at a time; of larger files, Node's faster code is worth loading. */
const CHUNK = 1 << 20;

/** SHA-256 of text or bytes, as 64 hexadecimal digits. */
export function digest(data: string | Uint8Array): string {
  return sha256(
    typeof data === "string" ? new TextEncoder().encode(data) : data,
  );
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
  const buffer = new Uint8Array(Math.min(CHUNK, (await file.stat()).size + 1));
  let first = new Uint8Array();
  let hash: Hash | undefined;
  let size = 0;
  for (;;) {
    const read = await file.read(buffer);
    if (read === null) break;
    const piece = buffer.subarray(0, read);
    if (size === 0) first = piece.slice();
    else (hash ??= (await nativeHash()).update(first)).update(piece);
    if (copy !== undefined) await writeAll(copy, piece);
    size += read;
  }
  return { blob: hash?.digest("hex") ?? digest(first), size };
}

async function nativeHash(): Promise<Hash> {
  const { createHash } = await import("node:crypto");
  return createHash("sha256");
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await file.write(bytes.subarray(done));
  }
}
