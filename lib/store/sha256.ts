/**
 * SHA-256 of bytes (FIPS 180-4), for small ones: loading `node:crypto` takes
 * some 24 ms, and npm's libraries as long, a quarter of a run that finds
 * nothing to do.
 *
 * @returns 64 hexadecimal digits.
 */
export function sha256(bytes: Uint8Array): string {
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

/** Bytes of a block. */
const BLOCK = 64;

/** Bytes that end the last block, but for the bit that ends the data: its length in bits. */
const LENGTH_BYTES = 8;

/** First 32 bits of the fractions of the square roots of the first 8 primes. */
const INITIAL = fractions(8, Math.sqrt);

/** First 32 bits of the fractions of the cube roots of the first 64 primes. */
const ROUNDS = fractions(64, Math.cbrt);

/** Section 6.2.2: the schedule of a block, and its 64 rounds. */
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

/** The fractions of a function of the first primes, as 32 bits each. */
function fractions(count: number, of: (prime: number) => number): Int32Array {
  const found = new Int32Array(count);
  for (let n = 2, at = 0; at < count; n++) {
    let isPrime = true;
    for (let by = 2; by * by <= n; by++) isPrime &&= n % by !== 0;
    if (isPrime) found[at++] = of(n) % 1 * 2 ** 32 | 0;
  }
  return found;
}
