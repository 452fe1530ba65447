import {
  DTYPE_BYTES,
  elementCount,
  SafetensorsFile,
  type TensorType,
} from "./reader.ts";

/**
 * A tensor to write. The type of its array decides its dtype: `F32`, `I32` or
 * `U8`.
 */
export interface TensorValues {
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: Float32Array | Int32Array | Uint8Array;
}

/**
 * Writes a safetensors file atomically.
 *
 * The same tensors in any order result in the same bytes.
 *
 * @param tensors A vector may be given as its values
 * @throws {TypeError} If a shape does not fit its values, or a name is
 * reserved.
 */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorValues | TensorValues["values"]>>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const partial = `${path}.partial`;
  const entries = Object.entries(tensors).map(([name, it]) =>
    [name, "shape" in it ? it : { shape: [it.length], values: it }] as const
  );
  const types = entries.map(([name, { shape, values }]) =>
    [name, { shape, dtype: dtypeOf(values) }] as const
  );
  {
    using file = createSafetensors(
      partial,
      new Map(types),
      new Map(Object.entries(metadata)),
    );
    for (const [name, { values }] of entries) file.write(name, values);
    file.sync();
  }
  Deno.renameSync(partial, path);
}

/**
 * Creates and opens a safetensors file whose values, zero at first, are to be
 * written by {@linkcode SafetensorsFile.write}. The layout is that of the
 * reference implementation: wider types first, then by name.
 *
 * @throws {TypeError} If a name is reserved.
 */
export function createSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorType>,
  metadata: ReadonlyMap<string, string>,
): SafetensorsFile {
  const { header, fileBytes } = formatHeader(tensors, metadata);
  Deno.writeFileSync(path, header);
  Deno.truncateSync(path, fileBytes);
  return SafetensorsFile.open(path, { write: true });
}

/**
 * Writes the tensors of several files as one file, their values as they are.
 */
export function joinSafetensors(
  path: string,
  parts: readonly SafetensorsFile[],
  metadata: ReadonlyMap<string, string>,
): void {
  const types = new Map(parts.flatMap(({ tensors }) => [...tensors]));
  using joined = createSafetensors(path, types, metadata);
  for (const part of parts) {
    for (const name of part.tensors.keys()) joined.write(name, part.raw(name));
  }
}

function dtypeOf(values: TensorValues["values"]): string {
  if (values instanceof Float32Array) return "F32";
  if (values instanceof Int32Array) return "I32";
  return "U8";
}

/** Types by width, narrowest first. */
const WRITE_ORDER = [...DTYPE_BYTES.keys()];

/**
 * The header of a safetensors file, after its length, and the size of the file.
 */
export function formatHeader(
  tensors: ReadonlyMap<string, TensorType>,
  metadata: ReadonlyMap<string, string>,
): { readonly header: Uint8Array; readonly fileBytes: number } {
  if (tensors.has("__metadata__")) {
    throw new TypeError('Cannot write a tensor with the name "__metadata__"');
  }
  const widthOf = (name: string) =>
    WRITE_ORDER.indexOf(tensors.get(name)!.dtype);
  const names = [...tensors.keys()].sort();
  // Built by hand, since an object would move keys such as "0" to the front.
  const pair = (key: string, value: unknown) =>
    `${JSON.stringify(key)}:${JSON.stringify(value)}`;
  const pairs = [...metadata.keys()].sort()
    .map((key) => pair(key, metadata.get(key)));
  const fields = pairs.length > 0 ? [`"__metadata__":{${pairs}}`] : [];
  let begin = 0;
  for (const name of names.sort((a, b) => widthOf(b) - widthOf(a))) {
    const { dtype, shape } = tensors.get(name)!;
    const end = begin + elementCount(shape) * DTYPE_BYTES.get(dtype)!;
    fields.push(pair(name, { dtype, shape, data_offsets: [begin, end] }));
    begin = end;
  }
  const json = new TextEncoder().encode(`{${fields}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return { header, fileBytes: header.length + begin };
}
