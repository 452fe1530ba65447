/** What a safetensors header says of one tensor. */
export interface TensorEntry {
  /** Element type as the format names it: `F32`, `BF16`, `I64`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First byte and the byte after the last, counted from the end of the header. */
  readonly begin: number;
  readonly end: number;
}

/** A checked safetensors header. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Longest header that the reference implementation reads, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes per element of the types whose elements fill whole bytes. */
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
 * Parses the JSON header of a safetensors file and checks it as hostile input.
 *
 * Refused are duplicate keys, unknown types, shapes that do not fill their
 * byte range, and ranges that overlap, leave a hole or do not end with the file.
 *
 * @param json The header, padding included.
 * @param dataBytes Number of bytes that follow the header in the file.
 * @throws {SyntaxError} Saying what is wrong, without the name of the file.
 */
export function parseHeader(
  json: Uint8Array,
  dataBytes: number,
): SafetensorsHeader {
  if (json[0] !== "{".charCodeAt(0)) {
    throw new SyntaxError('The header does not begin with "{"');
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(json);
  } catch {
    throw new SyntaxError("The header is not UTF-8");
  }
  const header: Record<string, unknown> = JSON.parse(text);
  refuseDuplicateKeys(text);

  const tensors = new Map<string, TensorEntry>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = checkMetadata(value);
    else tensors.set(name, checkEntry(name, value));
  }
  checkLayout(tensors, dataBytes);
  return { tensors, metadata };
}

/** `JSON.parse` keeps the last of two equal keys; two readers must never see two files in one. */
function refuseDuplicateKeys(validJson: string): void {
  const objects: Set<string>[] = [];
  const colon = /\s*:/y;
  for (let i = 0; i < validJson.length; i++) {
    if (validJson[i] === "{") objects.push(new Set());
    else if (validJson[i] === "}") objects.pop();
    else if (validJson[i] === '"') {
      const begin = i++;
      while (validJson[i] !== '"') i += validJson[i] === "\\" ? 2 : 1;
      colon.lastIndex = i + 1;
      if (!colon.test(validJson)) continue;
      const key: string = JSON.parse(validJson.slice(begin, i + 1));
      if (objects.at(-1)!.has(key)) {
        throw new SyntaxError(`The header holds the key "${key}" twice`);
      }
      objects.at(-1)!.add(key);
    }
  }
}

function checkMetadata(value: unknown): ReadonlyMap<string, string> {
  if (!isRecord(value)) {
    throw new SyntaxError('"__metadata__" is not an object');
  }
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw new SyntaxError(`"${key}" in "__metadata__" is not a string`);
    }
    metadata.set(key, text);
  }
  return metadata;
}

function checkEntry(name: string, value: unknown): TensorEntry {
  const fault = (what: string) => new SyntaxError(`Tensor "${name}" ${what}`);
  if (!isRecord(value)) throw fault("is not an object");
  const { dtype, shape, data_offsets: offsets, ...rest } = value;
  const [extra] = Object.keys(rest);
  if (extra !== undefined) throw fault(`has an unknown field "${extra}"`);
  const size = typeof dtype === "string" ? DTYPE_BYTES.get(dtype) : undefined;
  if (typeof dtype !== "string" || size === undefined) {
    throw fault(`has an unknown dtype ${JSON.stringify(dtype)}`);
  }
  if (!isCounts(shape)) {
    throw fault(`has an invalid shape ${JSON.stringify(shape)}`);
  }
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw fault(`has invalid data_offsets ${JSON.stringify(offsets)}`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = elementCount(shape) * size;
  if (bytes !== end - begin) {
    throw fault(
      `of type ${dtype} and shape [${shape}] needs ${bytes} bytes, but its data_offsets [${offsets}] hold ${
        end - begin
      }`,
    );
  }
  return { dtype, shape, begin, end };
}

/** Every byte of the data belongs to exactly one tensor. */
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
          entry.begin < end ? "overlaps the tensor" : "leaves a hole after"
        } that ends at byte ${end}`,
      );
    }
    end = entry.end;
  }
  if (end !== dataBytes) {
    throw new SyntaxError(
      `The tensors end at byte ${end}, but the file holds ${dataBytes} bytes of data${
        end > dataBytes ? ": it is cut short" : ""
      }`,
    );
  }
}

/** Number of elements of a shape; a scalar's shape `[]` has one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) &&
    value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
