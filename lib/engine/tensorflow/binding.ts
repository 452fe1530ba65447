import { type Attribute, typeAttribute } from "./attributes.ts";
import { type LibTensorflow, textAt } from "./c_api.ts";
import type { CompiledFunctions } from "./compiled.ts";
import { EagerRuntime, type EagerTensor } from "./eager.ts";
import { Graph, type GraphFunction, type GraphTensor } from "./graph.ts";
import { mixedPrecision, type Precision } from "./precision.ts";
import { elementCount } from "../safetensors/reader.ts";
import {
  DataType,
  isFloat,
  type TensorSource,
  type TensorType,
  type TensorValues,
} from "./tensors.ts";

/** A tensor as tfjs describes it. */
export interface TensorMetadata extends TensorType {
  readonly id: number;
}

/** A function that was made from a trace. */
export interface TracedFunction extends GraphFunction {
  /**
   * Ids of the tensors from outside that the function uses. They must outlive
   * it.
   */
  readonly captures: readonly number[];
}

interface OpenTrace {
  readonly graph: Graph;
  /** Placeholders of the inputs. */
  readonly inputs: readonly GraphTensor[];
  /**
   * Placeholders of the eager tensors that the traced operations use, by id.
   */
  readonly captures: Map<number, GraphTensor>;
  /** Ids of the casts in the graph, by id of the tensor and type. */
  readonly casts: Map<string, number>;
  /** The trace within which this one was started. */
  readonly outer: OpenTrace | undefined;
}

/** A tensor in the library's memory, or of a graph under construction. */
type HeldTensor = EagerTensor | GraphTensor;

function isEager(tensor: HeldTensor): tensor is EagerTensor {
  return "handle" in tensor;
}

/**
 * Maximum values of the inputs of a function that is called alone. Larger ones,
 * such as an optimizer step of all weights, would take too much memory beside
 * their real inputs; they are compiled in each process.
 */
const MAX_VALUES = 2 ** 26;

/**
 * libtensorflow over Deno's FFI: tensors by id, and operations on them. It is
 * what stands behind the kernels of tfjs-node (`tfjs_node_gpu.ts`).
 *
 * It can also trace operations into a graph function ({@linkcode beginTrace})
 * and compute matrix products in bfloat16 ({@linkcode precision}); tfjs is
 * aware of neither.
 */
export class TensorflowBinding {
  /** Precision of the matrix products that follow. */
  precision: Precision = "f32";

  readonly #eager: EagerRuntime;
  /** The tensors that tfjs holds, by id. */
  readonly #tensors = new Map<number, HeldTensor>();
  #nextId = 1;
  /** Names of the functions that have been called. */
  readonly #called = new Set<string>();
  /** Names of those whose compiled code this process has. */
  readonly #ready = new Set<string>();
  #trace: OpenTrace | undefined;

  /**
   * @param devices Types of its devices: `["CPU", "GPU"]`
   * @param lanes Number of parts of a computation that run concurrently
   */
  constructor(
    private readonly library: LibTensorflow,
    context: Deno.PointerValue,
    readonly devices: readonly string[],
    readonly lanes: number,
    private readonly compiled?: CompiledFunctions,
  ) {
    this.#eager = new EagerRuntime(library, context);
  }

  isUsingGpuDevice(): boolean {
    return this.devices.includes("GPU");
  }

  /** Number of tensors in the library's memory. */
  getNumOfTensors(): number {
    return [...this.#tensors.values()].filter(isEager).length;
  }

  /** `2.21.0` */
  get version(): string {
    return textAt(this.library.TF_Version());
  }

  /** Creates a tensor of strings; returns its id. */
  createStrings(shape: number[], values: readonly Uint8Array[]): number {
    if (this.tracing) throw new Error("Strings cannot be traced");
    return this.#add(this.#eager.makeStrings(shape, values));
  }

  /** Creates a tensor, or while tracing a constant; returns its id. */
  createTensor(shape: number[], dtype: number, values: TensorSource): number {
    return this.#add(
      this.#trace?.graph.constant(shape, dtype, values) ??
        this.#eager.make(shape, dtype, values),
    );
  }

  /**
   * Frees a tensor. Tensors of a graph are freed with it, so for them this does
   * nothing.
   */
  deleteTensor(id: number): void {
    const tensor = this.#get(id);
    if (!isEager(tensor)) return;
    this.#eager.free(tensor);
    this.#tensors.delete(id);
  }

  /**
   * Copies a tensor's values out of the library.
   *
   * @throws {Error} While tracing, for a result of a traced operation.
   */
  tensorDataSync(id: number): TensorValues {
    const tensor = this.#get(id);
    if (isEager(tensor)) return this.#eager.read(tensor);
    throw new Error(
      `Cannot read the result of "${tensor.opName}", of shape [${tensor.shape}], inside a traced function: it has values only when the function runs`,
    );
  }

  /** Executes an operation, or while tracing adds it to the graph. */
  executeOp(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): TensorMetadata[] {
    if (this.precision === "f32") {
      return this.#addAll(this.#run(opName, attributes, inputIds, outputs));
    }
    const types = inputIds.map((id) => this.#get(id).dtype);
    const mixed = mixedPrecision(opName, attributes, types);
    const ids = inputIds.map((id, i) => this.#cast(id, mixed.types[i]!));
    const results = this.#run(opName, mixed.attributes, ids, outputs);
    for (const id of ids) if (!inputIds.includes(id)) this.deleteTensor(id);
    return this.#addAll(results);
  }

  /**
   * Replaces a tensor's values by their bfloat16 rounding, so that products
   * take it without a cast. Frozen weights are stored this way.
   */
  toBfloat16(id: number): void {
    const wide = this.#get(id);
    if (!isEager(wide) || wide.dtype !== DataType.float32) return;
    const rounded = this.#cast(id, DataType.bfloat16);
    this.#tensors.set(id, this.#get(rounded));
    this.#tensors.delete(rounded);
    this.#eager.free(wide);
  }

  /**
   * Actual types and shapes of tensors, which tell the traces of a function
   * apart: `1[16,32] 14[32,32]`.
   */
  signature(ids: readonly number[]): string {
    return ids.map((id) => this.#get(id))
      .map(({ dtype, shape }) => `${dtype}[${shape}]`).join(" ");
  }

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
    const graph = new Graph(this.library);
    const inputs = inputIds.map((id) => graph.placeholder(this.#get(id)));
    this.#trace = {
      graph,
      inputs,
      captures: new Map(),
      casts: new Map(),
      outer: this.#trace,
    };
    return this.#addAll(inputs);
  }

  /**
   * While tracing, `Identity` of a tensor with a control dependency on another:
   * what uses it starts no earlier, which bounds memory.
   */
  after(id: number, other: number): TensorMetadata {
    const trace = this.#trace!;
    const tensor = this.#symbol(trace, id);
    const awaited = this.#symbol(trace, other);
    const type = typeAttribute("T", tensor.dtype);
    return this.#addAll(
      trace.graph.operation("Identity", [type], [tensor], 1, [awaited]),
    )[0]!;
  }

  /**
   * Ends the trace and makes a function that returns these tensors.
   *
   * @param compiled Compiles the function with XLA, which fuses its loops
   * @param isBfloat16 True for the outputs that mixed precision stores in
   * bfloat16, because only products read them
   */
  endTrace(
    outputIds: readonly number[],
    compiled: boolean,
    isBfloat16: readonly boolean[],
  ): TracedFunction {
    const trace = this.#trace!;
    const outputs = outputIds.map((id, i) => {
      const type = this.precision === "bf16" && isBfloat16[i]
        ? DataType.bfloat16
        : DataType.float32;
      const isCast = isFloat(this.#get(id).dtype);
      return this.#symbol(trace, isCast ? this.#cast(id, type) : id);
    });
    const inputs = [...trace.inputs, ...trace.captures.values()];
    const made = trace.graph.toFunction(inputs, outputs, compiled);
    this.#eager.addFunction(made);
    this.abandonTrace();
    return { ...made, captures: [...trace.captures.keys()] };
  }

  /** Ends the trace, if one is in progress, without making a function. */
  abandonTrace(): void {
    const trace = this.#trace;
    if (trace === undefined) return;
    this.#trace = trace.outer;
    for (const [id, tensor] of this.#tensors) {
      const isOfTrace = !isEager(tensor) && tensor.graph === trace.graph;
      if (isOfTrace) this.#tensors.delete(id);
    }
    trace.graph.close();
  }

  /** Calls a traced function. */
  call(traced: TracedFunction, inputIds: readonly number[]): TensorMetadata[] {
    const ids = [...inputIds, ...traced.captures];
    const trace = this.#trace;
    return this.#addAll(
      trace === undefined
        ? this.#callNow(traced, ids)
        : trace.graph.call(traced, ids.map((id) => this.#symbol(trace, id))),
    );
  }

  /** Frees a traced function. */
  removeFunction(traced: TracedFunction): void {
    this.#eager.removeFunction(traced);
  }

  #callNow(traced: TracedFunction, ids: readonly number[]): HeldTensor[] {
    const call = () => this.#run(traced.name, [], ids, traced.outputs.length);
    if (this.#called.has(traced.name)) return call();
    this.#called.add(traced.name);
    const fresh = traced.calls.filter(({ name, inputs }) =>
      !this.#ready.has(name) &&
      inputs.reduce((sum, { shape }) => sum + elementCount(shape), 0) <=
        MAX_VALUES
    );
    for (const { name } of fresh) this.#ready.add(name);
    const first = new Map(
      fresh.map((it) => [it.name, () => this.#compile(it)]),
    );
    const outputs = this.compiled?.firstCall(first, call) ?? call();
    this.library.releasePages();
    return outputs;
  }

  /**
   * Compiles a function by calling it on zeros inside another, where it is
   * compiled in another way than alone.
   */
  #compile(part: GraphFunction): void {
    const graph = new Graph(this.library);
    const inputs = part.inputs.map((type) => graph.placeholder(type));
    const caller = graph.toFunction(inputs, graph.call(part, inputs), false);
    graph.close();
    this.#eager.addFunction(caller);
    const zeros = part.inputs.map(({ shape, dtype }) =>
      this.#eager.make(shape, dtype, (memory) => memory.fill(0))
    );
    const { name, outputs } = caller;
    const results = this.#eager.execute(name, [], zeros, outputs.length);
    for (const tensor of [...zeros, ...results]) this.#eager.free(tensor);
    this.#eager.removeFunction(caller);
  }

  /**
   * Executes an operation or a function, or while tracing adds it to the graph.
   */
  #run(
    opName: string,
    attributes: readonly Attribute[],
    inputIds: readonly number[],
    outputs: number,
  ): HeldTensor[] {
    const trace = this.#trace;
    if (trace !== undefined) {
      const inputs = inputIds.map((id) => this.#symbol(trace, id));
      return trace.graph.operation(opName, attributes, inputs, outputs);
    }
    const inputs = inputIds.map((id) => {
      const tensor = this.#get(id);
      if (isEager(tensor)) return tensor;
      throw new Error(
        `An input of operation "${opName}" belongs to a trace that has ended`,
      );
    });
    return this.#eager.execute(opName, attributes, inputs, outputs);
  }

  /**
   * The graph's tensor for an id. An eager tensor becomes a further input of
   * the function.
   */
  #symbol(trace: OpenTrace, id: number): GraphTensor {
    const tensor = this.#get(id);
    if (!isEager(tensor)) {
      if (tensor.graph === trace.graph) return tensor;
      throw new Error(
        `A traced function uses a tensor of shape [${tensor.shape}] of the surrounding trace: pass it as an input`,
      );
    }
    const captured = trace.captures.get(id) ?? trace.graph.placeholder(tensor);
    trace.captures.set(id, captured);
    return captured;
  }

  /**
   * Casts a tensor, unless it has the type; a trace casts each tensor once for
   * each type.
   */
  #cast(id: number, type: number): number {
    const from = this.#get(id).dtype;
    if (from === type) return id;
    const key = `${id} ${type}`;
    const earlier = this.#trace?.casts.get(key);
    if (earlier !== undefined) return earlier;
    const types = [typeAttribute("SrcT", from), typeAttribute("DstT", type)];
    const cast = this.#add(this.#run("Cast", types, [id], 1)[0]!);
    this.#trace?.casts.set(key, cast);
    return cast;
  }

  #add(tensor: HeldTensor): number {
    const id = this.#nextId;
    this.#nextId++;
    this.#tensors.set(id, tensor);
    return id;
  }

  /**
   * Adds tensors and returns their metadata. bfloat16 appears as float32, since
   * tfjs does not know it.
   */
  #addAll(tensors: readonly HeldTensor[]): TensorMetadata[] {
    return tensors.map((tensor) => ({
      id: this.#add(tensor),
      shape: tensor.shape,
      dtype: isFloat(tensor.dtype) ? DataType.float32 : tensor.dtype,
    }));
  }

  /** @throws {Error} If the tensor has been freed. */
  #get(id: number): HeldTensor {
    const tensor = this.#tensors.get(id);
    if (tensor === undefined) throw new Error(`Tensor ${id} has been freed`);
    return tensor;
  }
}
