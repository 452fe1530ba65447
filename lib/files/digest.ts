/** SHA-256 of bytes, or of text as UTF-8: 64 hexadecimal digits. */
export async function digest(
  data: string | Uint8Array<ArrayBuffer>,
): Promise<string> {
  const bytes = typeof data === "string"
    ? new TextEncoder().encode(data)
    : data;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** True if the text has the form of a SHA-256 digest. */
export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/**
 * Bytes read at a time. For larger files `node:crypto` is loaded, which takes
 * 11 ms.
 */
const CHUNK = 1 << 20;

/** A file's content. */
export interface FileDigest {
  /** SHA-256, in hexadecimal digits. */
  readonly blob: string;
  /** Bytes. */
  readonly size: number;
}

/** SHA-256 and size of a file, which may be larger than memory. */
export async function digestFile(path: string): Promise<FileDigest> {
  using file = await Deno.open(path);
  if ((await file.stat()).size <= CHUNK) {
    const bytes = await Deno.readFile(path);
    return { blob: await digest(bytes), size: bytes.length };
  }
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  const buffer = new Uint8Array(CHUNK);
  let size = 0;
  for (;;) {
    const read = await file.read(buffer);
    if (read === null) return { blob: hash.digest("hex"), size };
    hash.update(buffer.subarray(0, read));
    size += read;
  }
}

/**
 * 64-bit checksum for the store's own files. It detects
 * accidental damage, not tampering, and is about twenty times as fast as
 * {@linkcode digest}: two FNV-1a hashes, each finalized as in MurmurHash3.
 *
 * @returns 16 hexadecimal digits.
 */
export function quickChecksum(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x85ebca6b) + i | 0;
  }
  return hex(mixed(a)) + hex(mixed(b));
}

function mixed(hash: number): number {
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return hash ^ hash >>> 16;
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}

/**
 * Canonical JSON: object keys are sorted, so equal values give equal text.
 * Undefined properties are left out, as in `JSON.stringify()`.
 *
 * @param path Of the value, for messages.
 * @throws {TypeError} If the value contains something that JSON cannot
 * represent (`NaN`, a function, a `Date`).
 */
export function canonicalJson(value: unknown, path = "$"): string {
  if (Array.isArray(value)) {
    const items = value.map((item, i) => canonicalJson(item, `${path}[${i}]`));
    return `[${items.join()}]`;
  }
  if (isPlain(value)) {
    const members = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) =>
        `${JSON.stringify(key)}:${canonicalJson(value[key], `${path}.${key}`)}`
      );
    return `{${members.join()}}`;
  }
  const isScalar = value === null || Number.isFinite(value) ||
    typeof value === "boolean" || typeof value === "string";
  if (isScalar) return JSON.stringify(value);
  throw new TypeError(
    `"${path}" is ${
      typeof value === "object"
        ? Object.prototype.toString.call(value)
        : String(value)
    }, which JSON cannot represent`,
  );
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
