import { type Attribute, eagerSetters, setAttributes } from "./attributes.ts";
import { cString } from "./c_string.ts";
import { AttributeType, DataType, viewOf } from "./data_type.ts";
import { Graph, type GraphTensor } from "./graph.ts";
import { inputType, type Precision, withType } from "./precision.ts";
import type { Status } from "./status.ts";
import type { LibTensorflow } from "./symbols.ts";
import { allocateTensor, tensorBytes } from "./tensor_memory.ts";

/** What tfjs is told of a tensor. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** A tensor that lives in the library (`handle`), or in the graph being traced (`symbol`). */
interface TensorRecord {
  readonly shape: number[];
  readonly dtype: number;
  readonly handle?: Deno.PointerValue;
  readonly symbol?: { readonly graph: Graph; readonly tensor: GraphTensor };
}

/** A traced function: its name in the library, what it was traced with, and what it gives. */
export interface TracedFunction {
  readonly name: string;
  /** Ids of the tensors outside the function that it uses. They must outlive it. */
  readonly captures: readonly number[];
  readonly outputs: readonly { shape: number[]; dtype: number }[];
  /** The library's `TF_Function`. */
  readonly made: Deno.PointerValue;
}

/** How {@linkcode TensorflowBinding.endTrace} makes a function. */
export interface FunctionOptions {
  /** Compiles the whole function by XLA, which fuses its loops. */
  readonly compiled: boolean;
  /** Results, by number, that are kept in bfloat16 in mixed precision: those that products take. */
  readonly narrow: readonly number[];
}

interface Trace {
  readonly graph: Graph;
  readonly inputs: GraphTensor[];
  readonly captures: Map<number, GraphTensor>;
  /** Casts already in the graph, by id and element type. */
  readonly casts: Map<string, number>;
  /** The trace that calls this function. */
  readonly outer: Trace | undefined;
}

/**
 * `TFJSBinding`, the interface through which tfjs-node's kernels reach
 * libtensorflow, over Deno's FFI.
 *
 * Beside executing operations one by one it can trace them into a graph
 * function ({@linkcode beginTrace}) and run products in bfloat16
 * ({@linkcode precision}); tfjs above knows of neither.
 */
export class TensorflowBinding {
  readonly TF_FLOAT = DataType.float32;
  readonly TF_INT32 = DataType.int32;
  readonly TF_INT64 = DataType.int64;
  readonly TF_BOOL = DataType.bool;
  readonly TF_COMPLEX64 = DataType.complex64;
  readonly TF_STRING = DataType.string;
  readonly TF_RESOURCE = DataType.resource;
  readonly TF_UINT8 = DataType.uint8;
  readonly TF_ATTR_STRING = AttributeType.string;
  readonly TF_ATTR_INT = AttributeType.int;
  readonly TF_ATTR_FLOAT = AttributeType.float;
  readonly TF_ATTR_BOOL = AttributeType.bool;
  readonly TF_ATTR_TYPE = AttributeType.type;
  readonly TF_ATTR_SHAPE = AttributeType.shape;
  readonly TF_ATTR_RESOURCE = AttributeType.resource;
  readonly TF_Version: string;

  /** Precision of matrix products from here on. */
  precision: Precision = "f32";

  readonly #library: LibTensorflow;
  readonly #status: Status;
  readonly #context: Deno.PointerValue;
  readonly #usesGpu: boolean;
  readonly #tensors = new Map<number, TensorRecord>();
  #nextId = 1;
  #nextFunction = 0;
  #trace: Trace | undefined;

  constructor(
    library: LibTensorflow,
    status: Status,
    context: Deno.PointerValue,
    usesGpu: boolean,
  ) {
    this.#library = library;
    this.#status = status;
    this.#context = context;
    this.#usesGpu = usesGpu;
    this.TF_Version = Deno.UnsafePointerView.getCString(library.TF_Version()!);
  }

  isUsingGpuDevice(): boolean {
    return this.#usesGpu;
  }

  /** Tensors that the library holds: flat over a training run. */
  getNumOfTensors(): number {
    let held = 0;
    for (const { handle } of this.#tensors.values()) {
      if (handle !== undefined) held++;
    }
    return held;
  }

  /** Makes a tensor from values; a constant while tracing. */
  createTensor(
    shape: number[],
    dtype: number,
    values: ArrayLike<number>,
  ): number {
    if (this.#trace !== undefined) {
      const { graph } = this.#trace;
      return this.#add({
        shape,
        dtype,
        symbol: { graph, tensor: graph.constant(dtype, shape, values) },
      });
    }
    const tensor = allocateTensor(this.#library, shape, dtype, values);
    try {
      const handle = this.#library.TFE_NewTensorHandle(
        tensor,
        this.#status.pointer,
      );
      this.#status.check(`Make a tensor of shape [${shape}]`);
      return this.#add({ shape, dtype, handle });
    } finally {
      this.#library.TF_DeleteTensor(tensor);
    }
  }

  /** Frees a tensor. Symbolic ones are nobody's memory: they end with their graph. */
  deleteTensor(id: number): void {
    const record = this.#record(id);
    if (record.handle === undefined) return;
    this.#library.TFE_DeleteTensorHandle(record.handle);
    this.#tensors.delete(id);
  }

  /** Copies a tensor's values out. */
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array {
    const record = this.#record(id);
    if (record.handle === undefined) {
      throw new Error(
        `A tensor of shape [${record.shape}] is read inside a traced function; its values exist only when the function runs`,
      );
    }
    if (record.dtype === DataType.bfloat16) {
      const wide = this.#cast(id, DataType.float32);
      try {
        return this.tensorDataSync(wide);
      } finally {
        this.deleteTensor(wide);
      }
    }
    const tensor = this.#library.TFE_TensorHandleResolve(
      record.handle,
      this.#status.pointer,
    );
    this.#status.check("Read a tensor");
    try {
      return viewOf(
        record.dtype,
        tensorBytes(this.#library, tensor).slice().buffer as ArrayBuffer,
      );
    } finally {
      this.#library.TF_DeleteTensor(tensor);
    }
  }

  /** Executes an operation, or adds it to the graph while tracing. */
  executeOp(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): TensorMetadata[] {
    const casts: number[] = [];
    if (this.precision === "bf16" && opName !== "Cast") {
      [attributes, inputIds] = this.#mix(opName, attributes, inputIds, casts);
    }
    const trace = this.#trace;
    const records = trace === undefined
      ? this.#execute(opName, attributes, inputIds, outputs)
      : this.#symbols(
        trace,
        trace.graph.operation(
          opName,
          attributes,
          inputIds.map((id) => this.#symbol(trace, id)),
          outputs,
        ),
      );
    for (const id of casts) this.deleteTensor(id);
    return records.map((record) => this.#metadata(this.#add(record)));
  }

  /** Calls a traced function. */
  call(traced: TracedFunction, inputIds: readonly number[]): TensorMetadata[] {
    const { name, made, outputs } = traced;
    const ids = [...inputIds, ...traced.captures];
    const trace = this.#trace;
    const records = trace === undefined
      ? this.#execute(name, [], ids, outputs.length)
      : this.#symbols(
        trace,
        trace.graph.call(
          name,
          made,
          ids.map((id) => this.#symbol(trace, id)),
          outputs,
        ),
      );
    return records.map((record) => this.#metadata(this.#add(record)));
  }

  /** The element types and shapes of tensors as the library holds them, to tell traced functions apart. */
  signature(ids: readonly number[]): string {
    return ids.map((id) => {
      const { dtype, shape } = this.#record(id);
      return `${dtype}[${shape}]`;
    }).join(" ");
  }

  /**
   * Replaces a tensor's values by their bfloat16 rounding, so that a frozen
   * weight is kept once, in the type in which products take it.
   */
  narrow(id: number): void {
    const record = this.#record(id);
    if (record.handle === undefined || record.dtype !== DataType.float32) {
      return;
    }
    const narrowed = this.#cast(id, DataType.bfloat16);
    this.#tensors.set(id, this.#record(narrowed));
    this.#tensors.delete(narrowed);
    this.#library.TFE_DeleteTensorHandle(record.handle);
  }

  /**
   * Starts a trace: until {@linkcode endTrace}, operations are recorded instead
   * of executed. Inside another trace, it makes a function for that one to call.
   */
  beginTrace(inputIds: readonly number[]): TensorMetadata[] {
    const graph = new Graph(this.#library, this.#status);
    const trace: Trace = {
      graph,
      inputs: [],
      captures: new Map(),
      casts: new Map(),
      outer: this.#trace,
    };
    const inputs = inputIds.map((id) => {
      const { dtype, shape } = this.#record(id);
      const tensor = graph.placeholder(dtype, shape);
      trace.inputs.push(tensor);
      return this.#metadata(
        this.#add({ shape, dtype, symbol: { graph, tensor } }),
      );
    });
    this.#trace = trace;
    return inputs;
  }

  /** Ends the trace and makes the function that returns these tensors. */
  endTrace(
    outputIds: readonly number[],
    { compiled, narrow }: FunctionOptions,
  ): TracedFunction {
    const trace = this.#trace;
    if (trace === undefined) throw new Error("No trace is being made");
    const outputs = outputIds.map((id, i) =>
      this.#symbol(
        trace,
        this.#asFloat(
          id,
          this.precision === "bf16" && narrow.includes(i)
            ? DataType.bfloat16
            : DataType.float32,
        ),
      )
    );
    const name = `traced_${this.#nextFunction++}`;
    const made = trace.graph.toFunction(name, [
      ...trace.inputs,
      ...trace.captures.values(),
    ], outputs);
    try {
      if (compiled) {
        this.#library.TF_FunctionSetAttrValueProto(
          made,
          cString("_XlaMustCompile"),
          attributeTrue,
          BigInt(attributeTrue.length),
          this.#status.pointer,
        );
        this.#status.check(`Have the function "${name}" compiled`);
      }
      this.#library.TFE_ContextAddFunction(
        this.#context,
        made,
        this.#status.pointer,
      );
      this.#status.check(`Add the function "${name}"`);
    } catch (error) {
      this.#library.TF_DeleteFunction(made);
      throw error;
    }
    this.abandonTrace();
    return {
      name,
      made,
      captures: [...trace.captures.keys()],
      outputs: outputs.map(({ shape, dtype }) => ({ shape, dtype })),
    };
  }

  /** Ends the trace without a function, after a failure. */
  abandonTrace(): void {
    const trace = this.#trace;
    if (trace === undefined) return;
    this.#trace = trace.outer;
    for (const [id, { symbol }] of this.#tensors) {
      if (symbol?.graph === trace.graph) this.#tensors.delete(id);
    }
    trace.graph.close();
  }

  /** Frees a traced function. */
  removeFunction(traced: TracedFunction): void {
    this.#library.TFE_ContextRemoveFunction(
      this.#context,
      cString(traced.name),
      this.#status.pointer,
    );
    this.#status.check(`Remove the function "${traced.name}"`);
    this.#library.TF_DeleteFunction(traced.made);
  }

  /** True while a trace is being made. */
  get tracing(): boolean {
    return this.#trace !== undefined;
  }

  loadSavedModel = refuseSavedModels;
  deleteSavedModel = refuseSavedModels;
  runSavedModel = refuseSavedModels;
  getNumOfSavedModels(): number {
    return 0;
  }

  #add(record: TensorRecord): number {
    const id = this.#nextId++;
    this.#tensors.set(id, record);
    return id;
  }

  #record(id: number): TensorRecord {
    const record = this.#tensors.get(id);
    if (record === undefined) throw new Error(`Tensor ${id} has been freed`);
    return record;
  }

  #metadata(id: number): TensorMetadata {
    const { shape, dtype } = this.#record(id);
    return {
      id,
      shape,
      dtype: dtype === DataType.bfloat16 ? DataType.float32 : dtype,
    };
  }

  #execute(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): TensorRecord[] {
    const library = this.#library;
    const status = this.#status;
    const op = library.TFE_NewOp(
      this.#context,
      cString(opName),
      status.pointer,
    );
    status.check(`Operation "${opName}"`);
    try {
      setAttributes(eagerSetters(library, status), op, opName, attributes);
      for (const id of inputIds) {
        const { handle } = this.#record(id);
        if (handle === undefined) {
          throw new Error(
            `Operation "${opName}" is given a tensor of a trace that has ended`,
          );
        }
        library.TFE_OpAddInput(op, handle, status.pointer);
        status.check(`Input of operation "${opName}"`);
      }
      const handles = new BigUint64Array(outputs);
      const count = Int32Array.of(outputs);
      library.TFE_Execute(
        op,
        new Uint8Array(handles.buffer),
        new Uint8Array(count.buffer),
        status.pointer,
      );
      status.check(`Operation "${opName}"`);
      return Array.from(
        handles.subarray(0, count[0]),
        (address) => this.#describe(address),
      );
    } finally {
      library.TFE_DeleteOp(op);
    }
  }

  #describe(address: bigint): TensorRecord {
    const handle = Deno.UnsafePointer.create(address);
    const rank = this.#library.TFE_TensorHandleNumDims(
      handle,
      this.#status.pointer,
    );
    const shape: number[] = [];
    for (let i = 0; i < rank; i++) {
      shape.push(
        Number(
          this.#library.TFE_TensorHandleDim(handle, i, this.#status.pointer),
        ),
      );
    }
    this.#status.check("Shape of a tensor");
    return {
      shape,
      dtype: this.#library.TFE_TensorHandleDataType(handle),
      handle,
    };
  }

  /** The graph's tensor for an id; an eager tensor becomes an input of the function. */
  #symbol(trace: Trace, id: number): GraphTensor {
    const record = this.#record(id);
    if (record.symbol !== undefined) {
      if (record.symbol.graph === trace.graph) return record.symbol.tensor;
      throw new Error(
        `A traced function uses a tensor of shape [${record.shape}] of the trace around it: it must be one of its inputs`,
      );
    }
    let captured = trace.captures.get(id);
    if (captured === undefined) {
      captured = trace.graph.placeholder(record.dtype, record.shape);
      trace.captures.set(id, captured);
    }
    return captured;
  }

  #symbols(trace: Trace, tensors: readonly GraphTensor[]): TensorRecord[] {
    return tensors.map((tensor) => ({
      shape: tensor.shape,
      dtype: tensor.dtype,
      symbol: { graph: trace.graph, tensor },
    }));
  }

  #mix(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    temporary: number[],
  ): [readonly Attribute[], readonly number[]] {
    const types = inputIds.map((id) => this.#record(id).dtype);
    const floats = types.filter(isFloat);
    if (floats.length === 0) return [attributes, inputIds];
    const wanted = inputType(opName, floats);
    const ids = inputIds.map((id, i) => {
      const type = types[i]!;
      if (type === wanted || !isFloat(type)) return id;
      const cast = this.#cast(id, wanted);
      if (this.#trace === undefined) temporary.push(cast);
      return cast;
    });
    return [
      wanted === DataType.float32
        ? attributes
        : withType(attributes, DataType.float32, wanted),
      ids,
    ];
  }

  /** Casts a tensor; in a trace, once for each tensor and element type. */
  #cast(id: number, to: DataType): number {
    const memo = `${id} ${to}`;
    const known = this.#trace?.casts.get(memo);
    if (known !== undefined) return known;
    const from = this.#record(id).dtype;
    const attributes: Attribute[] = [
      { name: "SrcT", type: AttributeType.type, value: from },
      { name: "DstT", type: AttributeType.type, value: to },
    ];
    let cast: number;
    if (this.#trace === undefined) {
      cast = this.#add(this.#execute("Cast", attributes, [id], 1)[0]!);
    } else {
      const { graph } = this.#trace;
      const tensor = graph.operation("Cast", attributes, [
        this.#symbol(this.#trace, id),
      ], 1)[0]!;
      cast = this.#add({
        shape: tensor.shape,
        dtype: tensor.dtype,
        symbol: { graph, tensor },
      });
      this.#trace.casts.set(memo, cast);
    }
    return cast;
  }

  /** A floating-point tensor as `type`; others as they are. */
  #asFloat(id: number, type: DataType): number {
    const { dtype } = this.#record(id);
    return dtype === type || !isFloat(dtype) ? id : this.#cast(id, type);
  }
}

function isFloat(dtype: number): boolean {
  return dtype === DataType.float32 || dtype === DataType.bfloat16;
}

/** A `tensorflow.AttrValue` of true: field 5, `b`. */
const attributeTrue = Uint8Array.of(0x28, 1);

function refuseSavedModels(): never {
  throw new Error("Saved models are not supported by the engine");
}
