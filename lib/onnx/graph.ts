import {
  type Attributes,
  type ElementType,
  type Initializer,
  type Operation,
  type Port,
  TYPES,
} from "./model_file.ts";

/**
 * A graph of ONNX that is being built. Values are known by their names. The
 * same operation on the same values is one operation, and a constant or an
 * input that is named again is the same one.
 */
export class Graph {
  readonly inputs: Port[] = [];
  readonly outputs: Port[] = [];
  readonly operations: Operation[] = [];
  readonly initializers: Initializer[] = [];
  readonly #known = new Map<string, readonly string[]>();
  readonly #constants = new Map<string, string>();

  /**
   * The only or first output of an operation.
   *
   * @param inputs Values, and behind them attributes
   */
  op(type: string, ...inputs: readonly (string | Attributes)[]): string {
    const values = inputs.filter((it) => typeof it === "string");
    const [attributes = {}] = inputs.filter((it) => typeof it !== "string");
    return this.ops(type, values, attributes, 1)[0]!;
  }

  /** All outputs of an operation. */
  ops(
    type: string,
    inputs: readonly string[],
    attributes: Attributes,
    count: number,
  ): readonly string[] {
    const key = JSON.stringify([type, inputs, attributes, count]);
    return this.#known.getOrInsertComputed(key, () => {
      const name = `${type}_${this.operations.length}`;
      const outputs = Array.from(
        { length: count },
        (_, i) => i === 0 ? name : `${name}.${i}`,
      );
      this.operations.push({ type, inputs, outputs, attributes });
      return outputs;
    });
  }

  /** The value in another type. */
  cast(value: string, to: ElementType): string {
    return this.op("Cast", value, { to: TYPES[to].id });
  }

  /** An input by its name. */
  input(port: Port): string {
    return named(this.inputs, port);
  }

  /** An operation whose value is an output of the graph. */
  output(port: Port, type: string, inputs: readonly string[]): void {
    const operation = { type, inputs, outputs: [port.name], attributes: {} };
    this.outputs.push(port);
    this.operations.push(operation);
  }

  /** A tensor by its name. */
  tensor(initializer: Initializer): string {
    return named(this.initializers, initializer);
  }

  /** A tensor that is known by a key of its own instead of a name. */
  constant(key: string, of: Omit<Initializer, "name">): string {
    return this.#constants.getOrInsertComputed(key, () => {
      const name = `constant_${this.#constants.size}`;
      this.initializers.push({ ...of, name });
      return name;
    });
  }

  /** Integers: `[count]`, or of another shape, as of a number `[]`. */
  ints(values: readonly number[], shape = [values.length]): string {
    return this.constant(`${shape.join("x")}: ${values.join(" ")}`, {
      type: "int64",
      shape,
      read: () => BigInt64Array.from(values, BigInt),
    });
  }

  /** A float without dimensions. */
  float(value: number, type: "float32" | "float16"): string {
    return this.constant(`${type} ${value}`, {
      type,
      shape: [],
      read: () => floats([value], type),
    });
  }
}

/** The name of one of some things, to which it is added if it is new. */
function named<T extends { readonly name: string }>(all: T[], one: T): string {
  if (!all.some(({ name }) => name === one.name)) all.push(one);
  return one.name;
}

/**
 * Values in an element type.
 *
 * @throws {RangeError} If one is too large for it.
 */
export function floats(
  values: ArrayLike<number>,
  type: "float32" | "float16",
): Float32Array | Float16Array {
  if (type === "float32") return Float32Array.from(values);
  const halves = Float16Array.from(values);
  if (halves.every(Number.isFinite)) return halves;
  throw new RangeError(
    "The model has values too large for float16; export it with --dtype fp32",
  );
}
