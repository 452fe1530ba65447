import { createHash } from "node:crypto";
import { type Attribute, setAttributes } from "./attributes.ts";
import { cString, int64Bytes, type LibTensorflow } from "./c_api.ts";
import {
  allocateTensor,
  tensorBytes,
  type TensorSource,
  type TensorType,
} from "./tensors.ts";

/** A tensor of a graph under construction. */
export interface GraphTensor extends TensorType {
  readonly graph: Graph;
  /** Number of its node in the graph, and index of the output. */
  readonly nodeOutput: string;
  /** Name of the operation that computes it. */
  readonly opName: string;
  /**
   * The bytes of its `TF_Output`: pointer to the operation, index of the
   * output.
   */
  readonly output: Uint8Array<ArrayBuffer>;
}

/** A function that was made of a graph. */
export interface GraphFunction {
  /** Its name in the library. */
  readonly name: string;
  readonly inputs: readonly TensorType[];
  readonly outputs: readonly TensorType[];
  /** The functions that it calls, all of which are compiled. */
  readonly calls: readonly GraphFunction[];
  /** The library's `TF_Function`. */
  readonly made: Deno.PointerValue;
}

/**
 * Operations whose inputs begin with a list: the number of single inputs after
 * it. The library derives their attribute `N` from the list.
 */
const LIST_INPUTS: Readonly<Record<string, number>> = {
  AddN: 0,
  ConcatV2: 1,
  Pack: 0,
};

/**
 * The attribute with which XLA compiles a function at its first call with each
 * set of input shapes.
 */
const MUST_COMPILE = cString("_XlaMustCompile");

/** A `tensorflow.AttrValue` of true: field 5, `b`. */
const ATTRIBUTE_TRUE = Uint8Array.of(0x28, 1);

/** A graph under construction, from which a function is made. */
export class Graph {
  readonly #graph: Deno.PointerValue;
  /** The functions that the graph calls, by name. */
  readonly #functions = new Map<string, GraphFunction>();
  /** Of everything that was added, in its order. */
  readonly #hash = createHash("sha256");
  #nodes = 0;

  constructor(private readonly library: LibTensorflow) {
    this.#graph = library.TF_NewGraph();
  }

  /** Adds an input of the function. */
  placeholder({ dtype, shape }: TensorType): GraphTensor {
    const { library } = this;
    const node = this.#begin("Placeholder", [dtype, shape]);
    const dims = int64Bytes(shape);
    library.TF_SetAttrType(node, cString("dtype"), dtype);
    library.TF_SetAttrShape(node, cString("shape"), dims, shape.length);
    return this.#finish(node, "Placeholder", 1)[0]!;
  }

  constant(
    shape: readonly number[],
    dtype: number,
    values: TensorSource,
  ): GraphTensor {
    const { library } = this;
    const { status } = library;
    const tensor = allocateTensor(library, shape, dtype, values);
    const node = this.#begin("Const", [dtype, shape]);
    this.#hash.update(tensorBytes(library, tensor));
    library.TF_SetAttrType(node, cString("dtype"), dtype);
    library.TF_SetAttrTensor(node, cString("value"), tensor, status);
    library.TF_DeleteTensor(tensor);
    library.check(`Cannot add a constant of shape [${shape}] to a graph`);
    return this.#finish(node, "Const", 1)[0]!;
  }

  /**
   * Adds an operation.
   *
   * @param after What must have been computed before it starts
   */
  operation(
    opName: string,
    attributes: readonly Attribute[],
    inputs: readonly GraphTensor[],
    outputs: number,
    after: readonly GraphTensor[] = [],
  ): GraphTensor[] {
    const { library } = this;
    const node = this.#begin(opName, attributes, [...inputs, ...after]);
    for (const { output } of after) {
      const operation = new DataView(output.buffer).getBigUint64(0, true);
      library.TF_AddControlInput(node, Deno.UnsafePointer.create(operation));
    }
    const single = LIST_INPUTS[opName];
    const end = single === undefined ? 0 : inputs.length - single;
    const listed = inputs.slice(0, end);
    if (single !== undefined) {
      library.TF_AddInputList(node, joinOutputs(listed), listed.length);
    }
    for (const { output } of inputs.slice(end)) {
      library.TF_AddInput(node, output);
    }
    const setByCaller = single === undefined
      ? attributes
      : attributes.filter(({ name }) => name !== "N");
    setAttributes(library, "TF_", node, opName, setByCaller);
    return this.#finish(node, opName, outputs);
  }

  /** Adds a call of a function. */
  call(called: GraphFunction, inputs: readonly GraphTensor[]): GraphTensor[] {
    const { library } = this;
    const { name, made, outputs } = called;
    if (!this.#functions.has(name)) {
      library.TF_GraphCopyFunction(this.#graph, made, null, library.status);
      library.check(`Cannot copy the function "${name}" into a graph`);
      this.#functions.set(name, called);
    }
    const node = this.#begin("PartitionedCall", name, inputs);
    library.TF_AddInputList(node, joinOutputs(inputs), inputs.length);
    const types = Int32Array.from(outputs, ({ dtype }) => dtype);
    library.TF_SetAttrTypeList(
      node,
      cString("Tout"),
      new Uint8Array(types.buffer),
      types.length,
    );
    const length = BigInt(name.length);
    library.TF_SetAttrFuncName(node, cString("f"), cString(name), length);
    // Without this attribute the call is inlined before it can be compiled.
    library.TF_SetAttrBool(node, MUST_COMPILE, 1);
    return this.#finish(node, name, outputs.length, outputs);
  }

  /**
   * Makes a function of the graph, which is executed like an operation.
   *
   * It is named by what it computes: two of a name are one to the library,
   * which counts them, and one that was compiled is found again by its name.
   */
  toFunction(
    inputs: readonly GraphTensor[],
    outputs: readonly GraphTensor[],
    compiled: boolean,
  ): GraphFunction {
    const { library } = this;
    const { status } = library;
    const nodeOutputs = [inputs, outputs].map((of) =>
      of.map(({ nodeOutput }) => nodeOutput)
    );
    const digest = this.#hash.copy()
      .update(JSON.stringify([nodeOutputs, compiled]))
      .digest("hex");
    const name = `traced_${digest.slice(0, 32)}`;
    const made = library.TF_GraphToFunction(
      this.#graph,
      cString(name),
      0,
      -1,
      null,
      inputs.length,
      joinOutputs(inputs),
      outputs.length,
      joinOutputs(outputs),
      null,
      null,
      null,
      status,
    );
    library.check(`Cannot make the function "${name}"`);
    if (compiled) {
      library.TF_FunctionSetAttrValueProto(
        made,
        MUST_COMPILE,
        ATTRIBUTE_TRUE,
        BigInt(ATTRIBUTE_TRUE.length),
        status,
      );
      library.check(`Cannot mark the function "${name}" for compilation`);
    }
    const typeOf = ({ shape, dtype }: TensorType) => ({ shape, dtype });
    return {
      name,
      inputs: inputs.map(typeOf),
      outputs: outputs.map(typeOf),
      calls: [...this.#functions.values()],
      made,
    };
  }

  /** Frees the graph; functions made of it stay valid. */
  close(): void {
    this.library.TF_DeleteGraph(this.#graph);
  }

  /** Begins a node, and adds it to the hash. */
  #begin(
    opName: string,
    properties: unknown,
    inputs: readonly GraphTensor[] = [],
  ): Deno.PointerValue {
    const nodeOutputs = inputs.map(({ nodeOutput }) => nodeOutput);
    this.#hash.update(JSON.stringify([opName, properties, nodeOutputs]));
    const name = new TextEncoder().encode(`n${this.#nodes}\0`);
    this.#nodes++;
    return this.library.TF_NewOperation(this.#graph, cString(opName), name);
  }

  /**
   * Finishes a node and describes its outputs.
   *
   * @param types Their types, unless the library infers them
   */
  #finish(
    node: Deno.PointerValue,
    opName: string,
    outputs: number,
    types?: readonly TensorType[],
  ): GraphTensor[] {
    const { library } = this;
    const operation = library.TF_FinishOperation(node, library.status);
    library.check(`Cannot trace operation "${opName}"`);
    return Array.from({ length: outputs }, (_, index) => {
      const output = outputBytes(operation, index);
      return {
        graph: this,
        nodeOutput: `${this.#nodes}:${index}`,
        opName,
        output,
        dtype: library.TF_OperationOutputType(output),
        shape: types?.[index]?.shape ?? this.#shapeOf(output, opName),
      };
    });
  }

  #shapeOf(output: Uint8Array<ArrayBuffer>, opName: string): number[] {
    const { library } = this;
    const { status } = library;
    const rank = library.TF_GraphGetTensorNumDims(this.#graph, output, status);
    const dims = new BigInt64Array(Math.max(rank, 0));
    const bytes = new Uint8Array(dims.buffer);
    if (rank > 0) {
      library.TF_GraphGetTensorShape(this.#graph, output, bytes, rank, status);
    }
    library.check(`Cannot get the shape of operation "${opName}"`);
    if (rank < 0 || dims.some((dim) => dim < 0)) {
      throw new Error(
        `Operation "${opName}" cannot be traced: the shape of its output depends on values`,
      );
    }
    return Array.from(dims, Number);
  }
}

/** The bytes of a `TF_Output`. */
function outputBytes(
  operation: Deno.PointerValue,
  index: number,
): Uint8Array<ArrayBuffer> {
  const output = new Uint8Array(16);
  const view = new DataView(output.buffer);
  view.setBigUint64(0, Deno.UnsafePointer.value(operation), true);
  view.setInt32(8, index, true);
  return output;
}

/** The bytes of a `TF_Output[]`. */
function joinOutputs(tensors: readonly GraphTensor[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(tensors.length * 16);
  tensors.forEach(({ output }, i) => bytes.set(output, i * 16));
  return bytes;
}
