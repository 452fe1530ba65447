import type { Attribute } from "./attributes.ts";
import type { LibTensorflow, Status } from "./c_api.ts";
import { EagerRuntime } from "./eager.ts";
import {
  compileFunction,
  type FunctionOptions,
  Graph,
  type GraphTensor,
  type TracedFunction,
} from "./graph.ts";
import {
  inputType,
  type Precision,
  withSource,
  withType,
} from "./precision.ts";
import {
  isFloat,
  ofGraph,
  ofRuntime,
  type OpenTrace,
  symbolOf,
  type TensorMetadata,
  type TensorRecord,
  TensorTable,
} from "./tensor_table.ts";
import { AttributeType, DataType, type TensorSource } from "./tensors.ts";

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

  loadSavedModel = refuseSavedModels;
  deleteSavedModel = refuseSavedModels;
  runSavedModel = refuseSavedModels;
  getNumOfSavedModels(): number {
    return 0;
  }

  readonly TF_Version: string;

  /** Precision of matrix products from here on. */
  precision: Precision = "f32";

  readonly #library: LibTensorflow;
  readonly #status: Status;
  readonly #runtime: EagerRuntime;
  readonly #usesGpu: boolean;
  readonly #tensors = new TensorTable();
  #nextFunction = 0;
  #trace: OpenTrace | undefined;

  constructor(
    library: LibTensorflow,
    status: Status,
    context: Deno.PointerValue,
    usesGpu: boolean,
  ) {
    this.#library = library;
    this.#status = status;
    this.#runtime = new EagerRuntime(library, status, context);
    this.#usesGpu = usesGpu;
    this.TF_Version = Deno.UnsafePointerView.getCString(library.TF_Version()!);
  }

  isUsingGpuDevice(): boolean {
    return this.#usesGpu;
  }

  /** Tensors that the library holds: flat over a training run. */
  getNumOfTensors(): number {
    return this.#tensors.held;
  }

  /** Makes a tensor from values, or from what writes them; a constant while tracing. */
  createTensor(
    shape: number[],
    dtype: number,
    values: TensorSource,
  ): number {
    if (this.#trace !== undefined) {
      const { graph } = this.#trace;
      return this.#tensors.add({
        shape,
        dtype,
        symbol: { graph, tensor: graph.constant(dtype, shape, values) },
      });
    }
    return this.#tensors.add(
      ofRuntime(this.#runtime.make(shape, dtype, values)),
    );
  }

  /** Frees a tensor. Symbolic ones are nobody's memory: they end with their graph. */
  deleteTensor(id: number): void {
    const record = this.#tensors.get(id);
    if (record.eager === undefined) return;
    this.#runtime.free(record.eager);
    this.#tensors.delete(id);
  }

  /** Copies a tensor's values out. */
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array {
    const record = this.#tensors.get(id);
    if (record.eager === undefined) {
      const { opName } = record.symbol!.tensor;
      throw new Error(
        `The result of "${opName}", of shape [${record.shape}], is read inside a traced function; its values exist only when the function runs`,
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
    return this.#runtime.read(record.eager);
  }

  /** Executes an operation, or adds it to the graph while tracing. */
  executeOp(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): TensorMetadata[] {
    const casts: number[] = [];
    if (this.precision === "bf16") {
      [attributes, inputIds] = this.#mix(opName, attributes, inputIds, casts);
    }
    const trace = this.#trace;
    const records = trace === undefined
      ? this.#execute(opName, attributes, inputIds, outputs)
      : ofGraph(
        trace.graph,
        trace.graph.operation(
          opName,
          attributes,
          inputIds.map((id) => this.#symbol(trace, id)),
          outputs,
        ),
      );
    for (const id of casts) this.deleteTensor(id);
    return this.#tensors.addAll(records);
  }

  /** Calls a traced function. */
  call(traced: TracedFunction, inputIds: readonly number[]): TensorMetadata[] {
    const { name, made, outputs } = traced;
    const ids = [...inputIds, ...traced.captures];
    const trace = this.#trace;
    const records = trace === undefined
      ? this.#execute(name, [], ids, outputs.length)
      : ofGraph(
        trace.graph,
        trace.graph.call(
          name,
          made,
          ids.map((id) => this.#symbol(trace, id)),
          outputs,
        ),
      );
    return this.#tensors.addAll(records);
  }

  /** The element types and shapes of tensors as the library holds them, to tell traced functions apart. */
  signature(ids: readonly number[]): string {
    return this.#tensors.signature(ids);
  }

  /**
   * Replaces a tensor's values by their bfloat16 rounding, so that a frozen
   * weight is kept once, in the type in which products take it.
   */
  narrow(id: number): void {
    const { eager, dtype } = this.#tensors.get(id);
    if (eager === undefined || dtype !== DataType.float32) return;
    const narrowed = this.#cast(id, DataType.bfloat16);
    this.#tensors.move(narrowed, id);
    this.#runtime.free(eager);
  }

  /**
   * Starts a trace: until {@linkcode endTrace}, operations are recorded instead
   * of executed. Inside another trace, it makes a function for that one to call.
   */
  beginTrace(inputIds: readonly number[]): TensorMetadata[] {
    const graph = new Graph(this.#library, this.#status);
    const trace: OpenTrace = {
      graph,
      inputs: [],
      captures: new Map(),
      casts: new Map(),
      outer: this.#trace,
    };
    const inputs = inputIds.map((id) => {
      const { dtype, shape } = this.#tensors.get(id);
      const tensor = graph.placeholder(dtype, shape);
      trace.inputs.push(tensor);
      return this.#tensors.describe(
        this.#tensors.add({ shape, dtype, symbol: { graph, tensor } }),
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
      if (compiled) compileFunction(this.#library, this.#status, name, made);
      this.#runtime.addFunction(name, made);
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
    this.#tensors.deleteSymbols(trace.graph);
    trace.graph.close();
  }

  /** Frees a traced function. */
  removeFunction(traced: TracedFunction): void {
    this.#runtime.removeFunction(traced.name);
    this.#library.TF_DeleteFunction(traced.made);
  }

  /** True while a trace is being made. */
  get tracing(): boolean {
    return this.#trace !== undefined;
  }

  #execute(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): TensorRecord[] {
    const inputs = inputIds.map((id) => {
      const { eager } = this.#tensors.get(id);
      if (eager !== undefined) return eager;
      throw new Error(
        `Operation "${opName}" is given a tensor of a trace that has ended`,
      );
    });
    return this.#runtime.execute(opName, attributes, inputs, outputs)
      .map(ofRuntime);
  }

  #symbol(trace: OpenTrace, id: number): GraphTensor {
    return symbolOf(trace, id, this.#tensors.get(id));
  }

  #mix(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    temporary: number[],
  ): [readonly Attribute[], readonly number[]] {
    const types = inputIds.map((id) => this.#tensors.get(id).dtype);
    const floats = types.filter(isFloat);
    if (floats.length === 0) return [attributes, inputIds];
    if (opName === "Cast") return [withSource(attributes, types[0]!), inputIds];
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
    const from = this.#tensors.get(id).dtype;
    const attributes: Attribute[] = [
      { name: "SrcT", type: AttributeType.type, value: from },
      { name: "DstT", type: AttributeType.type, value: to },
    ];
    let cast: number;
    if (this.#trace === undefined) {
      cast = this.#tensors.add(this.#execute("Cast", attributes, [id], 1)[0]!);
    } else {
      const { graph } = this.#trace;
      const tensor = graph.operation("Cast", attributes, [
        this.#symbol(this.#trace, id),
      ], 1)[0]!;
      cast = this.#tensors.add({
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
    const { dtype } = this.#tensors.get(id);
    return dtype === type || !isFloat(dtype) ? id : this.#cast(id, type);
  }
}

function refuseSavedModels(): never {
  throw new Error("Saved models are not supported by the engine");
}
