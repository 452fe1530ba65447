import { createHash } from "node:crypto";
import { type Attribute, setAttributes } from "./attributes.ts";
import {
  cString,
  int64Bytes,
  type LibTensorflow,
  type Status,
} from "./c_api.ts";
import { allocateTensor, tensorBytes, type TensorSource } from "./tensors.ts";

/** Shape and element type of a tensor. */
export interface TensorType {
  readonly shape: number[];
  readonly dtype: number;
}

/** A tensor of a graph under construction. */
export interface GraphTensor extends TensorType {
  readonly graph: Graph;
  /** Number of its node in the graph, and index of the output. */
  readonly place: string;
  /** Name of the operation that computes it. */
  readonly opName: string;
  /** The bytes of its `TF_Output`: pointer to the operation, index of the output. */
  readonly output: Uint8Array<ArrayBuffer>;
}

/** A function that was made from a trace. */
export interface TracedFunction {
  /** Its name in the library. */
  readonly name: string;
  /** Ids of the tensors from outside that the function uses. They must outlive it. */
  readonly captures: readonly number[];
  readonly inputs: readonly TensorType[];
  readonly outputs: readonly TensorType[];
  /** The functions that it calls, all of which are compiled. */
  readonly calls: readonly TracedFunction[];
  /** The library's `TF_Function`. */
  readonly made: Deno.PointerValue;
}

/** How a function is made from a trace. */
export interface FunctionOptions {
  /** Compiles the function with XLA, which fuses its loops. */
  readonly compiled: boolean;
  /** Indices of the outputs that mixed precision stores in bfloat16, because only products read them. */
  readonly narrow: readonly number[];
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

/** A graph under construction, from which a function is made. */
export class Graph {
  readonly #library: LibTensorflow;
  readonly #status: Status;
  readonly #graph: Deno.PointerValue;
  /** The functions that the graph calls, by name. */
  readonly #functions = new Map<string, TracedFunction>();
  /** Of everything that was added, in its order. */
  readonly #hash = createHash("sha256");
  #nodes = 0;

  constructor(library: LibTensorflow, status: Status) {
    this.#library = library;
    this.#status = status;
    this.#graph = library.TF_NewGraph();
  }

  /** Adds an input of the function. */
  placeholder(dtype: number, shape: readonly number[]): GraphTensor {
    this.#note("Placeholder", [dtype, shape]);
    const node = this.#newNode("Placeholder");
    this.#library.TF_SetAttrType(node, cString("dtype"), dtype);
    this.#library.TF_SetAttrShape(
      node,
      cString("shape"),
      int64Bytes(shape),
      shape.length,
    );
    return this.#finish(node, "Placeholder", 1)[0]!;
  }

  /** Adds a constant. */
  constant(
    dtype: number,
    shape: readonly number[],
    values: TensorSource,
  ): GraphTensor {
    const tensor = allocateTensor(this.#library, shape, dtype, values);
    try {
      this.#note("Const", [dtype, shape]);
      this.#hash.update(tensorBytes(this.#library, tensor));
      const node = this.#newNode("Const");
      this.#library.TF_SetAttrType(node, cString("dtype"), dtype);
      this.#library.TF_SetAttrTensor(
        node,
        cString("value"),
        tensor,
        this.#status.pointer,
      );
      this.#status.check(
        `Cannot add a constant of shape [${shape}] to a graph`,
      );
      return this.#finish(node, "Const", 1)[0]!;
    } finally {
      this.#library.TF_DeleteTensor(tensor);
    }
  }

  /** Adds an operation. */
  operation(
    opName: string,
    attributes: readonly Attribute[],
    inputs: readonly GraphTensor[],
    outputs: number,
  ): GraphTensor[] {
    this.#note(opName, attributes, inputs);
    const node = this.#newNode(opName);
    const after = LIST_INPUTS[opName];
    const end = after === undefined ? 0 : inputs.length - after;
    const listed = inputs.slice(0, end);
    if (after !== undefined) {
      this.#library.TF_AddInputList(node, joinOutputs(listed), listed.length);
    }
    for (const input of inputs.slice(end)) {
      this.#library.TF_AddInput(node, input.output);
    }
    setAttributes(
      this.#library,
      "TF_",
      node,
      opName,
      after === undefined
        ? attributes
        : attributes.filter(({ name }) => name !== "N"),
    );
    return this.#finish(node, opName, outputs);
  }

  /** The functions that the graph calls. */
  get functions(): readonly TracedFunction[] {
    return [...this.#functions.values()];
  }

  /** Adds a call of a function. */
  call(
    called: TracedFunction,
    inputs: readonly GraphTensor[],
  ): GraphTensor[] {
    const { name, made, outputs } = called;
    if (!this.#functions.has(name)) {
      this.#library.TF_GraphCopyFunction(
        this.#graph,
        made,
        null,
        this.#status.pointer,
      );
      this.#status.check(`Cannot copy the function "${name}" into a graph`);
      this.#functions.set(name, called);
    }
    this.#note("PartitionedCall", name, inputs);
    const node = this.#newNode("PartitionedCall");
    this.#library.TF_AddInputList(node, joinOutputs(inputs), inputs.length);
    this.#library.TF_SetAttrTypeList(
      node,
      cString("Tout"),
      new Uint8Array(Int32Array.from(outputs, ({ dtype }) => dtype).buffer),
      outputs.length,
    );
    const bytes = new TextEncoder().encode(name);
    this.#library.TF_SetAttrFuncName(
      node,
      cString("f"),
      bytes,
      BigInt(bytes.length),
    );
    // Without this attribute the call is inlined before it can be compiled.
    this.#library.TF_SetAttrBool(node, cString("_XlaMustCompile"), 1);
    const operation = this.#library.TF_FinishOperation(
      node,
      this.#status.pointer,
    );
    this.#status.check(`Cannot call the function "${name}" in a graph`);
    return outputs.map(({ shape, dtype }, index) => ({
      graph: this,
      place: this.#place(index),
      opName: name,
      output: outputBytes(operation, index),
      shape: [...shape],
      dtype,
    }));
  }

  /** Makes a function of the graph, which is executed like an operation; returns the `TF_Function`. */
  toFunction(
    name: string,
    inputs: readonly GraphTensor[],
    outputs: readonly GraphTensor[],
  ): Deno.PointerValue {
    const made = this.#library.TF_GraphToFunction(
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
      this.#status.pointer,
    );
    this.#status.check(`Cannot make the function "${name}"`);
    return made;
  }

  /** A hash of what a function of the graph computes: the same in every process. */
  digest(
    inputs: readonly GraphTensor[],
    outputs: readonly GraphTensor[],
    compiled: boolean,
  ): string {
    const places = [inputs, outputs].map((of) => of.map(({ place }) => place));
    return this.#hash.copy().update(JSON.stringify([places, compiled]))
      .digest("hex");
  }

  /** Adds what comes next to the hash. */
  #note(
    opName: string,
    properties: unknown,
    inputs: readonly GraphTensor[] = [],
  ): void {
    const places = inputs.map(({ place }) => place);
    this.#hash.update(
      JSON.stringify(
        [opName, properties, places],
        (_, it) => typeof it === "bigint" ? `${it}n` : it,
      ),
    );
  }

  /** Where an output of the last node is. */
  #place(index: number): string {
    return `${this.#nodes}:${index}`;
  }

  /** Frees the graph; functions made of it stay valid. */
  close(): void {
    this.#library.TF_DeleteGraph(this.#graph);
  }

  #newNode(opName: string): Deno.PointerValue {
    return this.#library.TF_NewOperation(
      this.#graph,
      cString(opName),
      new TextEncoder().encode(`n${this.#nodes++}\0`),
    );
  }

  #finish(
    node: Deno.PointerValue,
    opName: string,
    outputs: number,
  ): GraphTensor[] {
    const operation = this.#library.TF_FinishOperation(
      node,
      this.#status.pointer,
    );
    this.#status.check(`Cannot trace operation "${opName}"`);
    return Array.from(
      { length: outputs },
      (_, index) => this.#describe(operation, opName, index),
    );
  }

  #describe(
    operation: Deno.PointerValue,
    opName: string,
    index: number,
  ): GraphTensor {
    const output = outputBytes(operation, index);
    const rank = this.#library.TF_GraphGetTensorNumDims(
      this.#graph,
      output,
      this.#status.pointer,
    );
    this.#status.check(`Cannot get the shape of operation "${opName}"`);
    const dims = new BigInt64Array(Math.max(rank, 0));
    if (rank > 0) {
      this.#library.TF_GraphGetTensorShape(
        this.#graph,
        output,
        new Uint8Array(dims.buffer),
        rank,
        this.#status.pointer,
      );
      this.#status.check(`Cannot get the shape of operation "${opName}"`);
    }
    const shape = Array.from(dims, Number);
    if (rank < 0 || shape.some((dim) => dim < 0)) {
      throw new Error(
        `Operation "${opName}" cannot be traced: the shape of its output depends on values`,
      );
    }
    return {
      graph: this,
      place: this.#place(index),
      opName,
      output,
      shape,
      dtype: this.#library.TF_OperationOutputType(output),
    };
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

/** A `tensorflow.AttrValue` of true: field 5, `b`. */
const ATTRIBUTE_TRUE = Uint8Array.of(0x28, 1);

/** Makes XLA compile a `TF_Function` at its first call with each set of input shapes. */
export function compileFunction(
  library: LibTensorflow,
  status: Status,
  name: string,
  made: Deno.PointerValue,
): void {
  library.TF_FunctionSetAttrValueProto(
    made,
    cString("_XlaMustCompile"),
    ATTRIBUTE_TRUE,
    BigInt(ATTRIBUTE_TRUE.length),
    status.pointer,
  );
  status.check(`Cannot mark the function "${name}" for compilation`);
}
