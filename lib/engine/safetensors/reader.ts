import {
  elementCount,
  MAX_HEADER_BYTES,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./header.ts";

/**
 * An open safetensors file.
 *
 * The header is checked whole when the file is opened; each tensor is then
 * read straight into its own array, so a file never lies in memory twice.
 *
 * ```ts
 * using file = SafetensorsFile.open("model.safetensors");
 * const weight = file.floats("classifier.dense.weight");
 * ```
 */
export class SafetensorsFile implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #header: SafetensorsHeader;
  readonly #dataStart: number;

  private constructor(
    readonly path: string,
    file: Deno.FsFile,
  ) {
    this.#file = file;
    const { header, dataStart } = readHeader(file);
    this.#header = header;
    this.#dataStart = dataStart;
  }

  /** @throws {SyntaxError} If the file is damaged or not safetensors. */
  static open(path: string): SafetensorsFile {
    const file = Deno.openSync(path);
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

  /** What the file holds, by name, in the order of its header. */
  get tensors(): ReadonlyMap<string, TensorEntry> {
    return this.#header.tensors;
  }

  get metadata(): ReadonlyMap<string, string> {
    return this.#header.metadata;
  }

  /**
   * Reads a tensor of type F32, F16 or BF16; the narrow types widen without loss.
   *
   * @param into Where to put the values; by default, into new memory
   * @throws {RangeError} If there is not exactly room for the tensor
   */
  floats(
    name: string,
    into?: Float32Array<ArrayBuffer>,
  ): Float32Array<ArrayBuffer> {
    const entry = this.#entry(name, ["F32", "F16", "BF16"]);
    const count = elementCount(entry.shape);
    const values = into ?? new Float32Array(count);
    if (values.length !== count) {
      throw new RangeError(
        `Tensor "${name}" of "${this.path}" has ${count} values, and there is room for ${values.length}`,
      );
    }
    if (entry.dtype === "F32") {
      this.#read(entry, values);
    } else if (entry.dtype === "F16") {
      const halves = new Float16Array(values.length);
      this.#read(entry, halves);
      values.set(halves);
    } else {
      const high = new Uint16Array(values.length);
      this.#read(entry, high);
      const bits = new Uint32Array(values.buffer, values.byteOffset, count);
      for (let i = 0; i < high.length; i++) bits[i] = high[i]! << 16;
    }
    return values;
  }

  /**
   * Reads a tensor of type I32, or of type I64 if every value fits.
   *
   * @throws {RangeError} If an I64 value needs more than 32 bits.
   */
  ints(name: string): Int32Array<ArrayBuffer> {
    const entry = this.#entry(name, ["I32", "I64"]);
    const values = new Int32Array(elementCount(entry.shape));
    if (entry.dtype === "I32") {
      this.#read(entry, values);
      return values;
    }
    const wide = new BigInt64Array(values.length);
    this.#read(entry, wide);
    for (let i = 0; i < wide.length; i++) {
      values[i] = Number(wide[i]);
      if (BigInt(values[i]!) !== wide[i]) {
        throw new RangeError(
          `Tensor "${name}" of "${this.path}" holds ${
            wide[i]
          } at position ${i}, which does not fit 32 bits`,
        );
      }
    }
    return values;
  }

  /** Reads a tensor of type U8. */
  bytes(name: string): Uint8Array<ArrayBuffer> {
    const entry = this.#entry(name, ["U8"]);
    const values = new Uint8Array(elementCount(entry.shape));
    this.#read(entry, values);
    return values;
  }

  /** Closes the file; tensors already read stay valid. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  #entry(name: string, dtypes: readonly string[]): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined) {
      throw new TypeError(
        `"${this.path}" has no tensor "${name}"; it holds ${
          listSome([...this.tensors.keys()])
        }`,
      );
    }
    if (!dtypes.includes(entry.dtype)) {
      throw new TypeError(
        `Tensor "${name}" of "${this.path}" is of type ${entry.dtype}, expected ${
          dtypes.join(" or ")
        }`,
      );
    }
    return entry;
  }

  #read(entry: TensorEntry, into: ArrayBufferView<ArrayBuffer>): void {
    this.#file.seekSync(this.#dataStart + entry.begin, Deno.SeekMode.Start);
    readFully(this.#file, into);
  }
}

function readHeader(
  file: Deno.FsFile,
): { header: SafetensorsHeader; dataStart: number } {
  const { size } = file.statSync();
  if (size < 8) throw new SyntaxError(`It holds ${size} bytes only`);
  const length = new DataView(new ArrayBuffer(8));
  readFully(file, length);
  const headerBytes = length.getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(size - 8, MAX_HEADER_BYTES))) {
    throw new SyntaxError(
      `Its header claims ${headerBytes} bytes, but the file holds ${size} and a header at most ${MAX_HEADER_BYTES}`,
    );
  }
  const json = new Uint8Array(Number(headerBytes));
  readFully(file, json);
  const dataStart = 8 + json.length;
  return { header: parseHeader(json, size - dataStart), dataStart };
}

/** A hostile header may put anything into a name. */
const LONGEST_MESSAGE = 500;

/** Some systems move at most 2 GiB in one call. */
const CHUNK_BYTES = 2 ** 30;

function readFully(
  file: Deno.FsFile,
  into: ArrayBufferView<ArrayBuffer>,
): void {
  let rest = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
  while (rest.length > 0) {
    const count = file.readSync(rest.subarray(0, CHUNK_BYTES));
    if (count === null) {
      throw new SyntaxError("The file became shorter while it was read");
    }
    rest = rest.subarray(count);
  }
}

function listSome(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => `"${name}"`).join(", ");
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}
