import { readFully, SafetensorsFile } from "../engine/safetensors/reader.ts";

/** How two files differ. */
export interface FileDifference {
  /** Bytes of the first file, and of the second. */
  readonly sizes: readonly [number, number];
  /** Offset of the first byte that differs. */
  readonly first: number;
  /** Number of bytes that differ, with those that only one of the files has. */
  readonly bytes: number;
  /**
   * Number of bytes that differ in each tensor of a safetensors file, by the
   * name that the first file has at their place; `""` is the header.
   */
  readonly tensors: Readonly<Record<string, number>>;
}

/** Bytes that are read at a time. */
const CHUNK = 1 << 20;

/**
 * Compares two files byte by byte.
 *
 * @param name Name of both, whose end says what they hold.
 */
export function differenceOf(
  name: string,
  before: string,
  after: string,
): FileDifference {
  using a = Deno.openSync(before);
  using b = Deno.openSync(after);
  const sizes = [a.statSync().size, b.statSync().size] as const;
  const common = Math.min(...sizes);
  const parts = name.endsWith(".safetensors") ? partsOf(before, sizes[0]) : [];
  const tensors: Record<string, number> = {};
  let part = 0;
  let bytes = Math.max(...sizes) - common;
  let first: number | undefined;
  for (let start = 0; start < common; start += CHUNK) {
    const size = Math.min(CHUNK, common - start);
    const x = readFully(a, new Uint8Array(size));
    const y = readFully(b, new Uint8Array(size));
    for (let i = 0; i < x.length; i++) {
      if (x[i] === y[i]) continue;
      first ??= start + i;
      bytes++;
      while (part < parts.length && parts[part]!.end <= start + i) part++;
      const { name } = parts[part] ?? {};
      if (name !== undefined) tensors[name] = 1 + (tensors[name] ?? 0);
    }
  }
  return { sizes, first: first ?? common, bytes, tensors };
}

/**
 * The header and the tensors of a safetensors file of `size` bytes, in order,
 * with the offset of their end.
 */
function partsOf(path: string, size: number) {
  using file = SafetensorsFile.open(path);
  const tensors = [...file.tensors].map(([name, { end }]) => ({ name, end }))
    .sort((a, b) => a.end - b.end);
  const header = size - (tensors.at(-1)?.end ?? 0);
  return [{ name: "", end: 0 }, ...tensors]
    .map(({ name, end }) => ({ name, end: header + end }));
}
