const encoder = new TextEncoder();
const known = new Map<string, Uint8Array<ArrayBuffer>>();

/** Zero-terminated bytes of a text, made once for each text: names of ops and attributes recur. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  let bytes = known.get(text);
  if (bytes === undefined) {
    bytes = encoder.encode(text + "\0");
    known.set(text, bytes);
  }
  return bytes;
}
