import type { EagerTensor } from "./eager.ts";
import type { Graph, GraphTensor } from "./graph.ts";
import { DataType } from "./tensors.ts";

/** A tensor as tfjs describes it. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** A tensor in the library's memory, or of a graph under construction. */
export type HeldTensor = EagerTensor | GraphTensor;

/** True for a tensor in the library's memory. */
export function isEager(tensor: HeldTensor): tensor is EagerTensor {
  return "handle" in tensor;
}

/** The tensors that tfjs holds, by id. */
export class TensorTable {
  readonly #tensors = new Map<number, HeldTensor>();
  #nextId = 1;

  /** Adds a tensor and returns its id. */
  add(tensor: HeldTensor): number {
    const id = this.#nextId++;
    this.#tensors.set(id, tensor);
    return id;
  }

  /** Adds tensors and returns their metadata. */
  addAll(tensors: readonly HeldTensor[]): TensorMetadata[] {
    return tensors.map((tensor) => this.describe(this.add(tensor)));
  }

  /** @throws {Error} If the tensor has been freed. */
  get(id: number): HeldTensor {
    const tensor = this.#tensors.get(id);
    if (tensor === undefined) throw new Error(`Tensor ${id} has been freed`);
    return tensor;
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
    this.#tensors.set(to, this.get(from));
    this.#tensors.delete(from);
  }

  delete(id: number): void {
    this.#tensors.delete(id);
  }

  /** Deletes the tensors of a graph. */
  deleteSymbols(graph: Graph): void {
    for (const [id, tensor] of this.#tensors) {
      if (!isEager(tensor) && tensor.graph === graph) this.#tensors.delete(id);
    }
  }

  /** Number of tensors in the library's memory. */
  get held(): number {
    return [...this.#tensors.values()].filter(isEager).length;
  }
}
