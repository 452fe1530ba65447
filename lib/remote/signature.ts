/**
 * Signed results: who vouches for a result, and what is checked before it is
 * used.
 */
import { treeDigest } from "../store/blobs.ts";
import { canonicalJson, digest } from "../files/digest.ts";
import { readIfThere } from "../files/files.ts";
import { type Manifest, MANIFEST_VERSION } from "../store/manifests.ts";
import { isManifest } from "../store/manifest_schema.ts";
import { dirname } from "../files/paths.ts";

/** An Ed25519 key that signs results. */
export interface SigningKey {
  /** The public key, by which readers trust it: 64 hexadecimal digits. */
  readonly signer: string;
  readonly key: CryptoKey;
}

/** A result as it travels. */
export interface SignedResult {
  readonly manifest: Manifest;
  /** Blobs that are stored compressed. */
  readonly gzip: readonly string[];
}

/**
 * The key in a file, which is a JSON Web Key; undefined if there is no file.
 */
export async function readKey(file: string): Promise<SigningKey | undefined> {
  const text = readIfThere(file);
  if (text === undefined) return undefined;
  try {
    const jwk = JSON.parse(text) as JsonWebKey;
    const key = await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, [
      "sign",
    ]);
    const signer = Uint8Array.fromBase64(jwk.x!, { alphabet: "base64url" });
    return { signer: signer.toHex(), key };
  } catch (error) {
    throw new Error(
      `"${file}" is not a signing key; remove it and make one with "deno task cache key"`,
      { cause: error },
    );
  }
}

/** Makes a key in a new file that only its owner can read. */
export async function makeKey(file: string): Promise<void> {
  const { privateKey } = await crypto.subtle
    .generateKey("Ed25519", true, ["sign", "verify"]) as CryptoKeyPair;
  const jwk = await crypto.subtle.exportKey("jwk", privateKey);
  Deno.mkdirSync(dirname(file), { recursive: true });
  Deno.writeTextFileSync(file, `${JSON.stringify(jwk)}\n`, {
    createNew: true,
    mode: 0o600,
  });
}

/**
 * What is signed, which names its format so that no other signature of the key
 * fits.
 */
function signedBytes(result: SignedResult): Uint8Array<ArrayBuffer> {
  const { manifest, gzip } = result;
  return new TextEncoder().encode(
    `dylora result 1\n${canonicalJson({ manifest, gzip })}`,
  );
}

/** The text of a signed result. */
export async function sign(
  result: SignedResult,
  { key }: SigningKey,
): Promise<string> {
  const bytes = signedBytes(result);
  const signature = await crypto.subtle.sign("Ed25519", key, bytes);
  const text = new Uint8Array(signature).toHex();
  return `${JSON.stringify({ ...result, signature: text })}\n`;
}

/**
 * Reads a signed result and checks everything that can be checked without its
 * files: the signature, that its parts are those of the key, and that its
 * content is that of its files.
 *
 * @param key The key that was asked for.
 * @returns What is wrong, as the predicate of a sentence.
 */
export async function openSigned(
  text: string,
  signer: string,
  key: string,
): Promise<SignedResult | { readonly fault: string }> {
  let value: SignedResult & { readonly signature: string };
  let isSigned = false;
  try {
    value = JSON.parse(text);
    if (value.signature === undefined) return { fault: "is not signed" };
    const raw = Uint8Array.fromHex(signer);
    isSigned = await crypto.subtle.verify(
      "Ed25519",
      await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]),
      Uint8Array.fromHex(value.signature),
      signedBytes(value),
    );
  } catch {
    return { fault: "is damaged" };
  }
  if (!isSigned) return { fault: `is not signed by ${signer.slice(0, 12)}` };
  const { manifest, gzip } = value;
  if (manifest?.version !== MANIFEST_VERSION) {
    return { fault: "was written by another version of this program" };
  }
  if (!isManifest(manifest)) return { fault: "is invalid" };
  const { parts, files, content } = manifest;
  if (
    manifest.key !== key ||
    await digest(canonicalJson(parts)) !== key ||
    await treeDigest(files) !== content
  ) return { fault: "belongs to another key" };
  return { manifest, gzip };
}
