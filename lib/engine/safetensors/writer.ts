import { elementCount } from "./reader.ts";

/** A tensor to write. The type of its array decides its dtype: `F32`, `I32` or `U8`. */
export interface TensorValues {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: Float32Array | Int32Array | Uint8Array;
}

/**
 * Writes a safetensors file atomically.
 *
 * The same tensors in any order result in the same bytes: the layout is that of
 * the reference implementation (wider types first, then by name).
 *
 * @throws {TypeError} If a shape does not fit its values, or a name is reserved.
 */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorValues>>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const ordered = Object.entries(tensors)
    .map(([name, tensor]) => ({
      name,
      dtype: dtypeOf(tensor.values),
      ...tensor,
    }))
    .sort((a, b) =>
      WRITE_ORDER.indexOf(a.dtype) - WRITE_ORDER.indexOf(b.dtype) ||
      compareText(a.name, b.name)
    );
  const partial = `${path}.partial`;
  const file = Deno.openSync(partial, {
    write: true,
    create: true,
    truncate: true,
  });
  try {
    const header = formatHeader(ordered, metadata);
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(header.length), true);
    writeFully(file, length);
    writeFully(file, header);
    for (const { values } of ordered) writeFully(file, values);
    file.syncSync();
  } finally {
    file.close();
  }
  Deno.renameSync(partial, path);
}

/** Order of the types in the reference implementation, widest first. */
const WRITE_ORDER = ["F32", "I32", "U8"];

function dtypeOf(values: TensorValues["values"]): string {
  if (values instanceof Float32Array) return "F32";
  if (values instanceof Int32Array) return "I32";
  return "U8";
}

function formatHeader(
  ordered: readonly (TensorValues & { name: string; dtype: string })[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  // Built by hand, since an object would move keys such as "0" to the front.
  const fields: string[] = [];
  const sortedMetadata = Object.entries(metadata).sort(([a], [b]) =>
    compareText(a, b)
  );
  if (sortedMetadata.length > 0) {
    const pairs = sortedMetadata.map(([key, value]) =>
      `${JSON.stringify(key)}:${JSON.stringify(value)}`
    );
    fields.push(`"__metadata__":{${pairs}}`);
  }
  let begin = 0;
  for (const { name, dtype, shape, values } of ordered) {
    if (name === "__metadata__" || elementCount(shape) !== values.length) {
      throw new TypeError(
        `Cannot write tensor "${name}" of shape [${shape}] with ${values.length} values`,
      );
    }
    const end = begin + values.byteLength;
    const entry = { dtype, shape, data_offsets: [begin, end] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
    begin = end;
  }
  const json = new TextEncoder().encode(`{${fields}}`);
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  return padded;
}

function writeFully(file: Deno.FsFile, from: ArrayBufferView): void {
  let rest = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
  while (rest.length > 0) {
    rest = rest.subarray(file.writeSync(rest.subarray(0, 2 ** 30)));
  }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
