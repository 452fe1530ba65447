import type { Hash } from "node:crypto";

/**
 * SHA-256 of bytes, or of text as UTF-8: 64 hexadecimal digits. It is our own
 * because `node:crypto` makes a run with nothing to do a tenth slower, and
 * `crypto.subtle` is asynchronous.
 */
export function digest(data: string | Uint8Array): string {
  return sha256(
    typeof data === "string" ? new TextEncoder().encode(data) : data,
  );
}

/** True if the text has the form of a SHA-256 digest. */
export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** Bytes read at a time. Larger files are hashed by `node:crypto`, which is faster. */
const CHUNK = 1 << 20;

/**
 * SHA-256 and size of a file, read in chunks so that it may be larger than
 * memory.
 *
 * @param copy Receives the bytes that were hashed.
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
    else {
      const { createHash } = await import("node:crypto");
      hash ??= createHash("sha256").update(first);
      hash.update(piece);
    }
    for (let done = 0; copy !== undefined && done < read;) {
      done += await copy.write(piece.subarray(done));
    }
    size += read;
  }
  return { blob: hash?.digest("hex") ?? digest(first), size };
}

/** SHA-256 (FIPS 180-4). */
function sha256(bytes: Uint8Array): string {
  const state = Int32Array.from(INITIAL);
  const whole = bytes.length - bytes.length % BLOCK;
  const schedule = new Int32Array(64);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < whole; at += BLOCK) compress(state, schedule, view, at);
  const rest = bytes.subarray(whole);
  const last = new DataView(
    new ArrayBuffer(rest.length + LENGTH_BYTES < BLOCK ? BLOCK : 2 * BLOCK),
  );
  new Uint8Array(last.buffer).set(rest);
  last.setUint8(rest.length, 0x80);
  last.setBigUint64(last.byteLength - 8, BigInt(bytes.length) * 8n);
  for (let at = 0; at < last.byteLength; at += BLOCK) {
    compress(state, schedule, last, at);
  }
  return Array.from(
    state,
    (word) => (word >>> 0).toString(16).padStart(8, "0"),
  ).join("");
}

/** Bytes per block. */
const BLOCK = 64;

/** Bytes of padding at the end of the last block: a byte 0x80 and the length in bits (64-bit). */
const LENGTH_BYTES = 8;

/** Initial hash value: first 32 bits of the fractional parts of the square roots of the first 8 primes. */
const INITIAL = fractions(8, Math.sqrt);

/** Round constants: first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const ROUNDS = fractions(64, Math.cbrt);

/** Message schedule and 64 rounds of one block (section 6.2.2). */
function compress(
  state: Int32Array,
  w: Int32Array,
  data: DataView,
  at: number,
): void {
  for (let t = 0; t < 16; t++) w[t] = data.getInt32(at + 4 * t);
  for (let t = 16; t < 64; t++) {
    const x = w[t - 15]!;
    const y = w[t - 2]!;
    const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
    const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
    w[t] = w[t - 16]! + s0 + w[t - 7]! + s1;
  }
  let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!;
  let e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
  for (let t = 0; t < 64; t++) {
    const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
    const t1 = h + s1 + (e & f ^ ~e & g) + ROUNDS[t]! + w[t]! | 0;
    const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^
      (a >>> 22 | a << 10);
    const t2 = s0 + (a & b ^ a & c ^ b & c) | 0;
    h = g;
    g = f;
    f = e;
    e = d + t1 | 0;
    d = c;
    c = b;
    b = a;
    a = t1 + t2 | 0;
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
  state[4]! += e;
  state[5]! += f;
  state[6]! += g;
  state[7]! += h;
}

/** First 32 bits of the fractional part of `of(prime)` for each of the first `count` primes. */
function fractions(count: number, of: (prime: number) => number): Int32Array {
  const found = new Int32Array(count);
  for (let n = 2, at = 0; at < count; n++) {
    let isPrime = true;
    for (let by = 2; by * by <= n; by++) isPrime &&= n % by !== 0;
    if (isPrime) found[at++] = of(n) % 1 * 2 ** 32 | 0;
  }
  return found;
}

/**
 * 64-bit checksum for the store's own files. It detects
 * accidental damage, not tampering, and is about twenty times as fast as
 * {@linkcode sha256}: two FNV-1a hashes, each finalized as in MurmurHash3.
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
 * @throws {TypeError} If the value contains something that JSON cannot represent (`NaN`, a function, a `Date`).
 */
export function canonicalJson(value: unknown): string {
  return writeValue(value, "$");
}

function writeValue(value: unknown, path: string): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number" && Number.isFinite(value)) {
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) {
    return `[${
      value.map((item, i) => writeValue(item, `${path}[${i}]`)).join()
    }]`;
  }
  if (isPlain(value)) {
    const members = Object.keys(value)
      .filter((key) => value[key] !== undefined)
      .sort()
      .map((key) =>
        `${JSON.stringify(key)}:${writeValue(value[key], `${path}.${key}`)}`
      );
    return `{${members.join()}}`;
  }
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
