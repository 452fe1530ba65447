import type { EagerTensor } from "./eager.ts";
import type { Graph, GraphTensor } from "./graph.ts";
import { DataType } from "./tensors.ts";

/** A tensor as tfjs describes it. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** A tensor in the library's memory (`eager`) or in a graph under construction (`symbol`). */
export interface TensorRecord {
  readonly shape: number[];
  readonly dtype: number;
  readonly eager?: EagerTensor;
  readonly symbol?: { readonly graph: Graph; readonly tensor: GraphTensor };
}

/** The record of an eager tensor. */
export function eagerRecord(eager: EagerTensor): TensorRecord {
  return { shape: eager.shape, dtype: eager.dtype, eager };
}

/** The record of a graph's tensor. */
export function symbolRecord(graph: Graph, tensor: GraphTensor): TensorRecord {
  return {
    shape: tensor.shape,
    dtype: tensor.dtype,
    symbol: { graph, tensor },
  };
}

/** The tensors that tfjs holds, by id. */
export class TensorTable {
  readonly #records = new Map<number, TensorRecord>();
  #nextId = 1;

  /** Adds a tensor and returns its id. */
  add(record: TensorRecord): number {
    const id = this.#nextId++;
    this.#records.set(id, record);
    return id;
  }

  /** Adds tensors and returns their metadata. */
  addAll(records: readonly TensorRecord[]): TensorMetadata[] {
    return records.map((record) => this.describe(this.add(record)));
  }

  /** @throws {Error} If the tensor has been freed. */
  get(id: number): TensorRecord {
    const record = this.#records.get(id);
    if (record === undefined) throw new Error(`Tensor ${id} has been freed`);
    return record;
  }

  /** Metadata of a tensor. bfloat16 appears as float32, since tfjs does not know it. */
  describe(id: number): TensorMetadata {
    const { shape, dtype } = this.get(id);
    return {
      id,
      shape,
      dtype: dtype === DataType.bfloat16 ? DataType.float32 : dtype,
    };
  }

  /** Actual types and shapes of tensors: `1[16,32] 14[32,32]`. */
  signature(ids: readonly number[]): string {
    return ids.map((id) => {
      const { dtype, shape } = this.get(id);
      return `${dtype}[${shape}]`;
    }).join(" ");
  }

  /** Moves the tensor `from` to the id `to`. */
  move(from: number, to: number): void {
    this.#records.set(to, this.get(from));
    this.#records.delete(from);
  }

  delete(id: number): void {
    this.#records.delete(id);
  }

  /** Deletes the tensors of a graph. */
  deleteSymbols(graph: Graph): void {
    for (const [id, { symbol }] of this.#records) {
      if (symbol?.graph === graph) this.#records.delete(id);
    }
  }

  /** Number of tensors in the library's memory. */
  get held(): number {
    let held = 0;
    for (const { eager } of this.#records.values()) {
      if (eager !== undefined) held++;
    }
    return held;
  }
}
