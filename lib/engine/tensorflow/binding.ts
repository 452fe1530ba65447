import type { Attribute } from "./attributes.ts";
import type { LibTensorflow, Status } from "./c_api.ts";
import type { CompiledFunctions } from "./compiled.ts";
import { EagerRuntime } from "./eager.ts";
import {
  compileFunction,
  type FunctionOptions,
  Graph,
  type GraphTensor,
  type TensorType,
  type TracedFunction,
} from "./graph.ts";
import { inputType, type Precision, withType } from "./precision.ts";
import {
  type HeldTensor,
  isEager,
  type TensorMetadata,
  TensorTable,
} from "./tensor_table.ts";
import { elementCount } from "../safetensors/reader.ts";
import {
  AttributeType,
  DataType,
  isFloat,
  type TensorSource,
} from "./tensors.ts";

/** A trace in progress. */
interface OpenTrace {
  readonly graph: Graph;
  /** Placeholders of the inputs. */
  readonly inputs: GraphTensor[];
  /** Placeholders of the eager tensors that the traced operations use, by id. */
  readonly captures: Map<number, GraphTensor>;
  /** Ids of the casts in the graph, by id of the tensor and type. */
  readonly casts: Map<string, number>;
  /** The trace within which this one was started. */
  readonly outer: OpenTrace | undefined;
}

/**
 * `TFJSBinding`, the interface through which the kernels of tfjs-node use
 * libtensorflow, implemented over Deno's FFI.
 *
 * It can also trace operations into a graph function ({@linkcode beginTrace})
 * and compute matrix products in bfloat16 ({@linkcode precision}); tfjs is
 * aware of neither.
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

  /** Precision of the matrix products that follow. */
  precision: Precision = "f32";

  readonly #library: LibTensorflow;
  readonly #status: Status;
  readonly #runtime: EagerRuntime;
  readonly #usesGpu: boolean;
  readonly #tensors = new TensorTable();
  readonly #compiled: CompiledFunctions | undefined;
  /** Names of the functions that have been called. */
  readonly #called = new Set<string>();
  /** Names of those whose compiled code this process has. */
  readonly #ready = new Set<string>();
  #trace: OpenTrace | undefined;

  constructor(
    library: LibTensorflow,
    status: Status,
    context: Deno.PointerValue,
    usesGpu: boolean,
    compiled?: CompiledFunctions,
  ) {
    this.#library = library;
    this.#status = status;
    this.#runtime = new EagerRuntime(library, status, context);
    this.#usesGpu = usesGpu;
    this.#compiled = compiled;
  }

  isUsingGpuDevice(): boolean {
    return this.#usesGpu;
  }

  /** Number of tensors in the library's memory. */
  getNumOfTensors(): number {
    return this.#tensors.held;
  }

  /** Creates a tensor, or while tracing a constant; returns its id. */
  createTensor(
    shape: number[],
    dtype: number,
    values: TensorSource,
  ): number {
    return this.#tensors.add(
      this.#trace === undefined
        ? this.#runtime.make(shape, dtype, values)
        : this.#trace.graph.constant(dtype, shape, values),
    );
  }

  /** Frees a tensor. Tensors of a graph are freed with it, so for them this does nothing. */
  deleteTensor(id: number): void {
    const tensor = this.#tensors.get(id);
    if (!isEager(tensor)) return;
    this.#runtime.free(tensor);
    this.#tensors.delete(id);
  }

  /**
   * Copies a tensor's values out of the library.
   *
   * @throws {Error} While tracing, for a result of a traced operation.
   */
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array {
    const tensor = this.#tensors.get(id);
    if (!isEager(tensor)) {
      throw new Error(
        `Cannot read the result of "${tensor.opName}", of shape [${tensor.shape}], inside a traced function: it has values only when the function runs`,
      );
    }
    if (tensor.dtype === DataType.bfloat16) {
      const wide = this.#cast(id, DataType.float32);
      try {
        return this.tensorDataSync(wide);
      } finally {
        this.deleteTensor(wide);
      }
    }
    return this.#runtime.read(tensor);
  }

  /** Executes an operation, or while tracing adds it to the graph. */
  executeOp(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): TensorMetadata[] {
    const casts: number[] = [];
    if (this.precision === "bf16") {
      [attributes, inputIds] = this.#castInputs(
        opName,
        attributes,
        inputIds,
        casts,
      );
    }
    const trace = this.#trace;
    const results = trace === undefined
      ? this.#execute(opName, attributes, inputIds, outputs)
      : trace.graph.operation(
        opName,
        attributes,
        inputIds.map((id) => this.#symbol(trace, id)),
        outputs,
      );
    for (const id of casts) this.deleteTensor(id);
    return this.#tensors.addAll(results);
  }

  /**
   * Replaces a tensor's values by their bfloat16 rounding, so that products
   * take it without a cast. Frozen weights are stored this way.
   */
  narrow(id: number): void {
    const wide = this.#tensors.get(id);
    if (!isEager(wide) || wide.dtype !== DataType.float32) return;
    const narrowed = this.#cast(id, DataType.bfloat16);
    this.#tensors.move(narrowed, id);
    this.#runtime.free(wide);
  }

  /** Actual types and shapes of tensors, which tell the traces of a function apart. */
  signature(ids: readonly number[]): string {
    return this.#tensors.signature(ids);
  }

  /** True while tracing. */
  get tracing(): boolean {
    return this.#trace !== undefined;
  }

  /**
   * Starts a trace: until {@linkcode endTrace}, operations are added to a graph
   * instead of executed. Inside another trace, it makes a function that the
   * other one can call.
   *
   * @returns Symbolic tensors with the types and shapes of the inputs.
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
      return tensor;
    });
    this.#trace = trace;
    return this.#tensors.addAll(inputs);
  }

  /** Ends the trace and makes a function that returns these tensors. */
  endTrace(
    outputIds: readonly number[],
    { compiled, narrow }: FunctionOptions,
  ): TracedFunction {
    const trace = this.#trace;
    if (trace === undefined) throw new Error("No trace is in progress");
    const outputs = outputIds.map((id, i) =>
      this.#symbol(
        trace,
        this.#castFloat(
          id,
          this.precision === "bf16" && narrow.includes(i)
            ? DataType.bfloat16
            : DataType.float32,
        ),
      )
    );
    const inputs = [...trace.inputs, ...trace.captures.values()];
    const { functions } = trace.graph;
    // Named by what it computes: two of a name are one to the library, which
    // counts them, and one that was compiled is found again by its name.
    const name = `traced_${
      trace.graph.digest(inputs, outputs, compiled).slice(0, 32)
    }`;
    const made = trace.graph.toFunction(name, inputs, outputs);
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
      inputs: inputs.map(typeOf),
      outputs: outputs.map(typeOf),
      calls: functions,
    };
  }

  /** Ends the trace, if one is in progress, without making a function. */
  abandonTrace(): void {
    const trace = this.#trace;
    if (trace === undefined) return;
    this.#trace = trace.outer;
    this.#tensors.deleteSymbols(trace.graph);
    trace.graph.close();
  }

  /** Calls a traced function. */
  call(traced: TracedFunction, inputIds: readonly number[]): TensorMetadata[] {
    const ids = [...inputIds, ...traced.captures];
    const trace = this.#trace;
    return this.#tensors.addAll(
      trace === undefined
        ? this.#callNow(traced, ids)
        : trace.graph.call(traced, ids.map((id) => this.#symbol(trace, id))),
    );
  }

  #callNow(traced: TracedFunction, ids: readonly number[]): HeldTensor[] {
    const call = () =>
      this.#execute(traced.name, [], ids, traced.outputs.length);
    if (this.#compiled === undefined || this.#called.has(traced.name)) {
      return call();
    }
    this.#called.add(traced.name);
    const fresh = traced.calls.filter(({ name, inputs }) =>
      !this.#ready.has(name) && valuesOf(inputs) <= MAX_VALUES
    );
    for (const { name } of fresh) this.#ready.add(name);
    return this.#compiled.firstCall(
      new Map(fresh.map((it) => [it.name, () => this.#compile(it)])),
      call,
    );
  }

  /** Has a function compiled, by a call with zeros: inside another function, where it is compiled in another way than alone. */
  #compile(part: TracedFunction): void {
    const name = `calls_${part.name}`;
    const graph = new Graph(this.#library, this.#status);
    const inputs = part.inputs.map(({ dtype, shape }) =>
      graph.placeholder(dtype, shape)
    );
    const made = graph.toFunction(name, inputs, graph.call(part, inputs));
    graph.close();
    this.#runtime.addFunction(name, made);
    const zeros = part.inputs.map(({ shape, dtype }) =>
      this.#runtime.make(shape, dtype, (memory) => memory.fill(0))
    );
    const results = this.#runtime.execute(name, [], zeros, part.outputs.length);
    for (const tensor of [...zeros, ...results]) this.#runtime.free(tensor);
    this.#runtime.removeFunction(name);
    this.#library.TF_DeleteFunction(made);
  }

  /** Frees a traced function. */
  removeFunction(traced: TracedFunction): void {
    this.#runtime.removeFunction(traced.name);
    this.#library.TF_DeleteFunction(traced.made);
  }

  #execute(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): HeldTensor[] {
    const inputs = inputIds.map((id) => {
      const tensor = this.#tensors.get(id);
      if (isEager(tensor)) return tensor;
      throw new Error(
        `An input of operation "${opName}" belongs to a trace that has ended`,
      );
    });
    return this.#runtime.execute(opName, attributes, inputs, outputs);
  }

  /** The graph's tensor for an id. An eager tensor becomes a further input of the function. */
  #symbol(trace: OpenTrace, id: number): GraphTensor {
    const tensor = this.#tensors.get(id);
    const { dtype, shape } = tensor;
    if (!isEager(tensor)) {
      if (tensor.graph === trace.graph) return tensor;
      throw new Error(
        `A traced function uses a tensor of shape [${shape}] of the surrounding trace: pass it as an input`,
      );
    }
    let captured = trace.captures.get(id);
    if (captured === undefined) {
      captured = trace.graph.placeholder(dtype, shape);
      trace.captures.set(id, captured);
    }
    return captured;
  }

  /**
   * The attributes and inputs of an operation in mixed precision.
   *
   * @param temporary Receives the ids of casts to free after the operation.
   */
  #castInputs(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    temporary: number[],
  ): [readonly Attribute[], readonly number[]] {
    const types = inputIds.map((id) => this.#tensors.get(id).dtype);
    const floats = types.filter(isFloat);
    if (floats.length === 0) return [attributes, inputIds];
    if (opName === "Cast") {
      return [withType(attributes, ["SrcT"], types[0]!), inputIds];
    }
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
        : withType(attributes, ["T", "Tparams"], wanted),
      ids,
    ];
  }

  /** Casts a floating-point tensor to `type`; returns any other tensor unchanged. */
  #castFloat(id: number, type: DataType): number {
    const { dtype } = this.#tensors.get(id);
    return dtype === type || !isFloat(dtype) ? id : this.#cast(id, type);
  }

  /** Casts a tensor; a trace casts each tensor once for each type. */
  #cast(id: number, to: DataType): number {
    const memo = `${id} ${to}`;
    const known = this.#trace?.casts.get(memo);
    if (known !== undefined) return known;
    const from = this.#tensors.get(id).dtype;
    const attributes: Attribute[] = [
      { name: "SrcT", type: AttributeType.type, value: from },
      { name: "DstT", type: AttributeType.type, value: to },
    ];
    const trace = this.#trace;
    if (trace === undefined) {
      return this.#tensors.add(this.#execute("Cast", attributes, [id], 1)[0]!);
    }
    const [tensor] = trace.graph.operation("Cast", attributes, [
      this.#symbol(trace, id),
    ], 1);
    const cast = this.#tensors.add(tensor!);
    trace.casts.set(memo, cast);
    return cast;
  }
}

/**
 * Maximum values of the inputs of a function that is called alone. Larger ones,
 * such as an optimizer step of all weights, would take too much memory beside
 * their real inputs; they are compiled in each process.
 */
const MAX_VALUES = 2 ** 26;

function valuesOf(tensors: readonly TensorType[]): number {
  return tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}

function typeOf({ shape, dtype }: TensorType): TensorType {
  return { shape, dtype };
}
