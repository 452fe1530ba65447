import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { elementCount, writeFully } from "../engine/safetensors/reader.ts";

/** Element types of tensors, as `TensorProto.DataType` numbers them. */
export const TYPES = {
  float32: { id: 1, bytes: 4 },
  int8: { id: 3, bytes: 1 },
  int64: { id: 7, bytes: 8 },
  float16: { id: 10, bytes: 2 },
} as const;

export type ElementType = keyof typeof TYPES;

/**
 * An input or an output of a graph. A dimension with a name is known when the
 * graph runs.
 */
export interface Port {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly (number | string)[];
}

/** A tensor of a graph whose values are known. */
export interface Initializer {
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly number[];
  /**
   * Its values, row-major and little-endian; called once, when they are
   * written.
   */
  read(): ArrayBufferView;
}

/**
 * Attributes of an operation: integers, and floats in a record of their own.
 */
export interface Attributes {
  readonly [name: string]:
    | number
    | readonly number[]
    | { readonly float: number };
}

/** An operation of a graph. */
export interface Operation {
  readonly type: string;
  /** Names of values; "" for one that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
}

/** A graph, its operations in an order in which they can be computed. */
interface GraphContent {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly operations: readonly Operation[];
  readonly initializers: readonly Initializer[];
}

/**
 * Operations of ONNX 1.13: the oldest that has all that are used, so that most
 * versions of onnxruntime run them.
 */
const OPSET = 18;

/** Version of the format that ONNX 1.13 writes. */
const IR_VERSION = 8;

/**
 * Bytes of a tensor that is always inside, as sizes are, which decide the
 * shapes of others.
 */
const SMALL = 1024;

/** A message of protobuf has less than 2 GiB; some of it is the graph. */
const MAX_INSIDE = 2 ** 31 - 2 ** 26;

/**
 * Writes a model in the format of ONNX
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), tensor by tensor,
 * so that one of them is in memory at a time.
 *
 * @param path The file; tensors that have no room in it go to `PATH_data`
 * @param maxInside Maximum bytes of tensors in the model's own file
 */
export function writeOnnx(
  path: string,
  graph: GraphContent,
  maxInside = MAX_INSIDE,
): void {
  const { initializers } = graph;
  const sizes = initializers.map(({ type, shape }) =>
    elementCount(shape) * TYPES[type].bytes
  );
  const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
  const fits = sum(sizes) <= maxInside;
  const isInside = sizes.map((size) => fits || size < SMALL);
  const data = `${path}_data`;
  const location = data.slice(data.lastIndexOf("/") + 1);
  let offset = 0;
  // The values of a tensor are the last field of its message.
  const frames = initializers.map(({ name, type, shape }, i) => {
    const length = sizes[i]!;
    const tensor = { 1: shape, 2: TYPES[type].id, 8: name };
    const range = { location, offset, length };
    if (!isInside[i]) offset += length;
    const fields = isInside[i]
      ? encoded(tensor).tag(9, WireType.LengthDelimited).uint32(length)
      : encoded({
        ...tensor,
        13: Object.entries(range).map(([key, it]) => ({ 1: key, 2: `${it}` })),
        14: EXTERNAL,
      });
    const message = fields.finish();
    return new BinaryWriter().tag(5, WireType.LengthDelimited)
      .uint32(message.length + (isInside[i] ? length : 0))
      .raw(message).finish();
  });
  const body = encoded({
    1: graph.operations.map(operationMessage),
    2: "model",
    11: graph.inputs.map(portMessage),
    12: graph.outputs.map(portMessage),
  }).finish();
  const framed = body.length + sum(frames.map(({ length }) => length)) +
    sum(sizes.filter((_, i) => isInside[i]));
  const start = encoded({ 1: IR_VERSION, 2: "dylora", 8: { 2: OPSET } })
    .tag(7, WireType.LengthDelimited).uint32(framed);

  using file = Deno.createSync(path);
  using beside = fits ? undefined : Deno.createSync(data);
  writeFully(file, start.raw(body).finish());
  for (const [i, { name, read }] of initializers.entries()) {
    writeFully(file, frames[i]!);
    const values = read();
    if (values.byteLength !== sizes[i]) {
      throw new TypeError(
        `Tensor "${name}" has ${values.byteLength} bytes, expected ${sizes[i]}`,
      );
    }
    writeFully(isInside[i] ? file : beside!, values);
  }
}

/** Of `DataLocation`. */
const EXTERNAL = 1;

/** A `NodeProto`. */
function operationMessage(
  { type, inputs, outputs, attributes }: Operation,
): Message {
  return {
    1: inputs,
    2: outputs,
    3: outputs[0]!,
    4: type,
    // Types are FLOAT, INT and INTS.
    5: Object.entries(attributes).map(([name, value]): Message =>
      typeof value === "number"
        ? { 1: name, 3: value, 20: 2 }
        : "float" in value
        ? { 1: name, 2: value, 20: 1 }
        : { 1: name, 8: value, 20: 7 }
    ),
  };
}

/** A `ValueInfoProto`. */
function portMessage({ name, type, shape }: Port): Message {
  const dimensions = shape.map((size) => ({
    [typeof size === "number" ? 1 : 2]: size,
  }));
  return { 1: name, 2: { 1: { 1: TYPES[type].id, 2: { 1: dimensions } } } };
}

/**
 * A message of protobuf by the numbers of its fields: integers, floats,
 * strings, messages, and lists of these.
 */
interface Message {
  readonly [field: number]: Field | readonly Field[];
}

type Field = number | { readonly float: number } | string | Message;

function encoded(message: Message, writer = new BinaryWriter()): BinaryWriter {
  for (const [key, value] of Object.entries(message)) {
    const field = Number(key);
    for (const it of [value].flat() as Field[]) {
      if (typeof it === "number") {
        writer.tag(field, WireType.Varint).int64(it);
      } else if (typeof it === "string") {
        writer.tag(field, WireType.LengthDelimited).string(it);
      } else if ("float" in it) {
        writer.tag(field, WireType.Bit32).float(it.float as number);
      } else {
        encoded(it, writer.tag(field, WireType.LengthDelimited).fork()).join();
      }
    }
  }
  return writer;
}
