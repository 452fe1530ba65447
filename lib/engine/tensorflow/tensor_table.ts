import type { EagerTensor } from "./eager.ts";
import type { Graph, GraphTensor } from "./graph.ts";
import { DataType } from "./tensors.ts";

/** What tfjs is told of a tensor. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** A tensor that lives in the library (`eager`), or in a graph being traced (`symbol`). */
export interface TensorRecord {
  readonly shape: number[];
  readonly dtype: number;
  readonly eager?: EagerTensor;
  readonly symbol?: { readonly graph: Graph; readonly tensor: GraphTensor };
}

/** The tensors that tfjs holds, by their ids. */
export class TensorTable {
  readonly #records = new Map<number, TensorRecord>();
  #nextId = 1;

  add(record: TensorRecord): number {
    const id = this.#nextId++;
    this.#records.set(id, record);
    return id;
  }

  /** Adds tensors, and tells of them. */
  addAll(records: readonly TensorRecord[]): TensorMetadata[] {
    return records.map((record) => this.describe(this.add(record)));
  }

  /** @throws {Error} If the tensor has been freed. */
  get(id: number): TensorRecord {
    const record = this.#records.get(id);
    if (record === undefined) throw new Error(`Tensor ${id} has been freed`);
    return record;
  }

  /** Element types and shapes, as the library holds them. */
  signature(ids: readonly number[]): string {
    return ids.map((id) => {
      const { dtype, shape } = this.get(id);
      return `${dtype}[${shape}]`;
    }).join(" ");
  }

  /** Has `id` mean another tensor; `from` means none from then on. */
  move(from: number, id: number): void {
    this.#records.set(id, this.get(from));
    this.#records.delete(from);
  }

  delete(id: number): void {
    this.#records.delete(id);
  }

  /** Forgets the tensors of a graph. */
  deleteSymbols(graph: Graph): void {
    for (const [id, { symbol }] of this.#records) {
      if (symbol?.graph === graph) this.#records.delete(id);
    }
  }

  /** Tensors that the library holds. */
  get held(): number {
    let held = 0;
    for (const { eager } of this.#records.values()) {
      if (eager !== undefined) held++;
    }
    return held;
  }

  /** What tfjs is told, which knows no bfloat16. */
  describe(id: number): TensorMetadata {
    const { shape, dtype } = this.get(id);
    return {
      id,
      shape,
      dtype: dtype === DataType.bfloat16 ? DataType.float32 : dtype,
    };
  }
}

export function ofRuntime(eager: EagerTensor): TensorRecord {
  return { shape: eager.shape, dtype: eager.dtype, eager };
}

/** Symbols of a graph as records. */
export function ofGraph(
  graph: Graph,
  tensors: readonly GraphTensor[],
): TensorRecord[] {
  return tensors.map((tensor) => ({
    shape: tensor.shape,
    dtype: tensor.dtype,
    symbol: { graph, tensor },
  }));
}

export function isFloat(dtype: number): boolean {
  return dtype === DataType.float32 || dtype === DataType.bfloat16;
}

/** A trace that is being made. */
export interface OpenTrace {
  readonly graph: Graph;
  readonly inputs: GraphTensor[];
  readonly captures: Map<number, GraphTensor>;
  /** Casts already in the graph, by id and element type. */
  readonly casts: Map<string, number>;
  /** The trace that calls this function. */
  readonly outer: OpenTrace | undefined;
}

/** The graph's tensor for an id; an eager tensor becomes an input of the function. */
export function symbolOf(
  trace: OpenTrace,
  id: number,
  record: TensorRecord,
): GraphTensor {
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
