import * as z from "zod";

/** Element type and shape of a tensor. */
export interface TensorType {
  /** In the format's notation: `F32`, `BF16`, `I64`. */
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** A tensor as the header of a safetensors file describes it. */
interface TensorEntry extends TensorType {
  /**
   * First byte, and the byte after the last, relative to the end of the header.
   */
  readonly begin: number;
  readonly end: number;
}

/** Element types that {@linkcode SafetensorsFile.floats} reads. */
export const FLOAT_TYPES: readonly string[] = ["F32", "F16", "BF16"];

/**
 * Bytes per element, of the types that take whole bytes, in the order of the
 * reference implementation.
 */
export const DTYPE_BYTES: ReadonlyMap<string, number> = new Map([
  ["BOOL", 1],
  ["U8", 1],
  ["I8", 1],
  ["F8_E5M2", 1],
  ["F8_E4M3", 1],
  ["I16", 2],
  ["U16", 2],
  ["F16", 2],
  ["BF16", 2],
  ["I32", 4],
  ["U32", 4],
  ["F32", 4],
  ["F64", 8],
  ["I64", 8],
  ["U64", 8],
]);

/**
 * An open safetensors file.
 *
 * The whole header is validated when the file is opened. Each tensor is then
 * read directly into its array, so the file is never in memory twice.
 *
 * ```ts
 * using file = SafetensorsFile.open("model.safetensors");
 * const weight = file.floats("classifier.dense.weight");
 * ```
 */
export class SafetensorsFile implements Disposable {
  /** The tensors by name, in the order of the header. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly #file: Deno.FsFile;
  readonly #dataStart: number;

  private constructor(readonly path: string, file: Deno.FsFile) {
    const { tensors, metadata, dataStart } = readHeader(file, path);
    this.tensors = tensors;
    this.metadata = metadata;
    this.#file = file;
    this.#dataStart = dataStart;
  }

  /**
   * @param write Whether values are written, too.
   * @throws {SyntaxError} If the file is damaged or not safetensors.
   */
  static open(path: string, { write = false } = {}): SafetensorsFile {
    // Opening a pipe would wait for a writer.
    if (!Deno.statSync(path).isFile) {
      throw new SyntaxError(`Cannot read "${path}": it is not a file`);
    }
    const file = Deno.openSync(path, { read: true, write });
    try {
      return new SafetensorsFile(path, file);
    } catch (error) {
      file.close();
      if (!(error instanceof SyntaxError)) throw error;
      throw new SyntaxError(
        `Cannot read "${path}" as safetensors: ${
          error.message.slice(0, LONGEST_MESSAGE)
        }`,
        { cause: error },
      );
    }
  }

  /**
   * Reads a tensor of type F32, F16 or BF16 as float32, without loss.
   *
   * @param into Receives the values; default: a new array.
   * @throws {RangeError} If `into` does not have the tensor's number of
   * elements.
   */
  floats(
    name: string,
    into?: Float32Array<ArrayBuffer>,
  ): Float32Array<ArrayBuffer> {
    const entry = this.#entry(name, FLOAT_TYPES);
    const count = elementCount(entry.shape);
    const values = into ?? new Float32Array(count);
    if (values.length !== count) {
      throw new RangeError(
        `Tensor "${name}" of "${this.path}" has ${count} values, but there is room for ${values.length}`,
      );
    }
    if (entry.dtype === "F32") return this.#read(entry, values);
    if (entry.dtype === "BF16") {
      return fromBfloat16(this.#read(entry, new Uint16Array(count)), values);
    }
    values.set(this.#read(entry, new Float16Array(count)));
    return values;
  }

  /**
   * Reads a tensor of type I32, or one of type I64 whose values fit 32 bits.
   *
   * @throws {RangeError} If a value of type I64 does not fit.
   */
  ints(name: string): Int32Array<ArrayBuffer> {
    const entry = this.#entry(name, ["I32", "I64"]);
    const count = elementCount(entry.shape);
    if (entry.dtype === "I32") return this.#read(entry, new Int32Array(count));
    const wide = this.#read(entry, new BigInt64Array(count));
    const i = wide.findIndex((it) => it !== BigInt.asIntN(32, it));
    if (i < 0) return Int32Array.from(wide, Number);
    throw new RangeError(
      `Tensor "${name}" of "${this.path}" holds ${
        wide[i]
      } at position ${i}, which does not fit 32 bits`,
    );
  }

  /** Reads a tensor of type U8. */
  bytes(name: string): Uint8Array<ArrayBuffer> {
    this.#entry(name, ["U8"]);
    return this.raw(name);
  }

  /** Reads the bytes of a tensor of any type. */
  raw(name: string): Uint8Array<ArrayBuffer> {
    const entry = this.#entry(name);
    return this.#read(entry, new Uint8Array(entry.end - entry.begin));
  }

  /**
   * Writes a tensor. Its values are rounded to the nearest of its type; a
   * `Uint8Array` holds its bytes.
   *
   * @throws {TypeError} If they do not fill the tensor.
   * @throws {RangeError} If a value is too large for its type.
   */
  write(name: string, values: Float32Array | Int32Array | Uint8Array): void {
    const entry = this.#entry(name);
    const bytes = bytesOf(values, entry.dtype);
    if (bytes?.byteLength !== entry.end - entry.begin) {
      throw new TypeError(
        `Cannot write ${values.length} values as tensor "${name}" of type ${entry.dtype} and shape [${entry.shape}]`,
      );
    }
    if (bytes instanceof Float16Array && !bytes.every(Number.isFinite)) {
      throw new RangeError(
        `A value of tensor "${name}" of "${this.path}" is too large for type F16`,
      );
    }
    this.#seek(entry);
    writeFully(this.#file, bytes);
  }

  /** Waits until what was written is on the disk. */
  sync(): void {
    this.#file.syncSync();
  }

  /** Closes the file; arrays that were read stay valid. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #entry(name: string, dtypes?: readonly string[]): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined) {
      throw new TypeError(`"${this.path}" has no tensor "${name}"`);
    }
    if (dtypes?.includes(entry.dtype) === false) {
      throw new TypeError(
        `Tensor "${name}" of "${this.path}" has type ${entry.dtype}, expected ${
          dtypes.join(" or ")
        }`,
      );
    }
    return entry;
  }

  #read<T extends ArrayBufferView<ArrayBuffer>>(
    entry: TensorEntry,
    into: T,
  ): T {
    this.#seek(entry);
    return readFully(this.#file, into);
  }

  #seek({ begin }: TensorEntry): void {
    this.#file.seekSync(this.#dataStart + begin, Deno.SeekMode.Start);
  }
}

/**
 * Maximum length of an error message, since a header may contain names of any
 * length.
 */
const LONGEST_MESSAGE = 500;

/** @throws {SyntaxError} If the file ends before `into` is full. */
export function readFully<T extends ArrayBufferView<ArrayBuffer>>(
  file: Deno.FsFile,
  into: T,
): T {
  let rest = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
  while (rest.length > 0) {
    const count = file.readSync(rest);
    if (count === null) {
      throw new SyntaxError("The file was truncated while it was read");
    }
    rest = rest.subarray(count);
  }
  return into;
}

export function writeFully(file: Deno.FsFile, from: ArrayBufferView): void {
  let rest = new Uint8Array(from.buffer, from.byteOffset, from.byteLength);
  while (rest.length > 0) rest = rest.subarray(file.writeSync(rest));
}

/** Values of type BF16, which are the high bits of float32. */
export function fromBfloat16(
  high: Uint16Array,
  into = new Float32Array(high.length),
): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(into.buffer, into.byteOffset, into.length);
  for (let i = 0; i < high.length; i++) bits[i] = high[i]! << 16;
  return into;
}

/** Values as a tensor of a type holds them; undefined if it cannot. */
function bytesOf(
  values: Float32Array | Int32Array | Uint8Array,
  dtype: string,
): ArrayBufferView | undefined {
  if (values instanceof Uint8Array) return values;
  if (values instanceof Int32Array) return dtype === "I32" ? values : undefined;
  if (dtype === "F32") return values;
  if (dtype === "F16") return Float16Array.from(values);
  if (dtype !== "BF16") return undefined;
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  // To the nearest, and to the even one of two as near.
  return Uint16Array.from(
    bits,
    (bit) => (bit + 0x7fff + (bit >>> 16 & 1)) >>> 16,
  );
}

/** Number of elements of a shape; that of a scalar, `[]`, has one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Maximum size of a header in the reference implementation, in bytes. */
const MAX_HEADER_BYTES = 100_000_000;

const count = z.int().nonnegative();

const Entry = z.strictObject({
  dtype: z.enum([...DTYPE_BYTES.keys()], {
    error: ({ input }) => `Unknown dtype ${JSON.stringify(input)}`,
  }),
  shape: z.array(count),
  data_offsets: z.tuple([count, count]),
});

const Metadata = z.record(z.string(), z.string());

/**
 * Reads the JSON header of a safetensors file and validates it as untrusted
 * input: no unknown types, shapes that fit their byte ranges, and ranges that
 * cover the data exactly once.
 *
 * @throws {SyntaxError} If the header is invalid; the message does not name the
 * file.
 */
function readHeader(file: Deno.FsFile, path: string) {
  // Of a file that it opened through a link, a stage may not call statSync().
  const { size } = Deno.statSync(path);
  const notOne = (why: string) =>
    new SyntaxError(`It is not a safetensors file: ${why}`);
  if (size < 8) throw notOne(`it has only ${size} bytes`);
  const length = readFully(file, new DataView(new ArrayBuffer(8)))
    .getBigUint64(0, true);
  if (length > BigInt(Math.min(size - 8, MAX_HEADER_BYTES))) {
    throw notOne(
      `its header claims ${length} bytes, but the file has ${size} bytes and a header may have ${MAX_HEADER_BYTES}`,
    );
  }
  const json = readFully(file, new Uint8Array(Number(length)));
  if (json[0] !== "{".charCodeAt(0)) {
    throw notOne('its header does not begin with "{"');
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(json);
  } catch {
    throw notOne("its header is not UTF-8");
  }
  let parsed: Readonly<Record<string, unknown>>;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw notOne(`its header is not JSON: ${(error as Error).message}`);
  }
  const { __metadata__: metadata = {}, ...header } = parsed;
  const tensors = new Map(
    Object.entries(header).map(([name, value]) => [name, entryOf(name, value)]),
  );
  const dataStart = 8 + json.length;
  checkLayout(tensors, size - dataStart);
  const { data, error } = Metadata.safeParse(metadata);
  if (data !== undefined) {
    return { tensors, metadata: new Map(Object.entries(data)), dataStart };
  }
  throw new SyntaxError(`"__metadata__": ${z.prettifyError(error)}`);
}

function entryOf(name: string, value: unknown): TensorEntry {
  const { data, error } = Entry.safeParse(value);
  if (data === undefined) {
    throw new SyntaxError(`Tensor "${name}": ${z.prettifyError(error)}`);
  }
  const { dtype, shape, data_offsets: [begin, end] } = data;
  const bytes = elementCount(shape) * DTYPE_BYTES.get(dtype)!;
  if (bytes === end - begin) return { dtype, shape, begin, end };
  throw new SyntaxError(
    `Tensor "${name}" of type ${dtype} and shape [${shape}] needs ${bytes} bytes, but its data_offsets [${begin},${end}] span ${
      end - begin
    }`,
  );
}

/** Checks that every byte of the data belongs to exactly one tensor. */
function checkLayout(
  tensors: ReadonlyMap<string, TensorEntry>,
  dataBytes: number,
): void {
  const byPlace = [...tensors].sort(([, a], [, b]) =>
    a.begin - b.begin || a.end - b.end
  );
  let end = 0;
  for (const [name, entry] of byPlace) {
    if (entry.begin !== end) {
      throw new SyntaxError(
        `Tensor "${name}" begins at byte ${entry.begin}, which ${
          entry.begin < end
            ? "overlaps the tensor"
            : "leaves a hole after the data"
        } that ends at byte ${end}`,
      );
    }
    end = entry.end;
  }
  if (end !== dataBytes) {
    throw new SyntaxError(
      `The tensors end at byte ${end}, but the file has ${dataBytes} bytes of data${
        end > dataBytes ? ": it is truncated" : ""
      }`,
    );
  }
}
