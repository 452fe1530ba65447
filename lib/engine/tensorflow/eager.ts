import { type Attribute, setAttributes } from "./attributes.ts";
import { cString, type LibTensorflow } from "./c_api.ts";
import type { GraphFunction } from "./graph.ts";
import {
  allocateStrings,
  allocateTensor,
  AttributeType,
  DataType,
  freeStrings,
  readStrings,
  tensorBytes,
  type TensorSource,
  type TensorType,
  type TensorValues,
  valuesOf,
} from "./tensors.ts";

/** A tensor in the library's memory. */
export interface EagerTensor extends TensorType {
  /** A `TFE_TensorHandle`. */
  readonly handle: Deno.PointerValue;
}

/**
 * The library's eager runtime: it holds tensors and executes operations one by
 * one.
 */
export class EagerRuntime {
  constructor(
    private readonly library: LibTensorflow,
    private readonly context: Deno.PointerValue,
  ) {}

  make(shape: number[], dtype: number, values: TensorSource): EagerTensor {
    const { library } = this;
    const tensor = allocateTensor(library, shape, dtype, values);
    const handle = library.TFE_NewTensorHandle(tensor, library.status);
    library.TF_DeleteTensor(tensor);
    library.check(`Cannot create a tensor of shape [${shape}]`);
    return { shape, dtype, handle };
  }

  /**
   * A tensor of strings. The library does not free those of a tensor that it
   * did not fill itself, so they are copied by an operation.
   */
  makeStrings(shape: number[], values: readonly Uint8Array[]): EagerTensor {
    const { library } = this;
    const tensor = allocateStrings(library, shape, values);
    const empty = allocateStrings(library, [], [new Uint8Array(0)]);
    const inputs: EagerTensor[] = [tensor, empty].map((it) => {
      const handle = library.TFE_NewTensorHandle(it, library.status);
      library.check(`Cannot create a tensor of shape [${shape}]`);
      return { shape, dtype: DataType.string, handle };
    });
    const count = { name: "N", type: AttributeType.int, value: inputs.length };
    const [copy] = this.execute("StringJoin", [count], inputs, 1);
    for (const input of inputs) this.free(input);
    for (const it of [tensor, empty]) {
      freeStrings(library, it);
      library.TF_DeleteTensor(it);
    }
    return copy!;
  }

  /**
   * Copies a tensor's values out of the library, those of bfloat16 as float32.
   */
  read({ shape, dtype, handle }: EagerTensor): TensorValues {
    const { library } = this;
    const tensor = library.TFE_TensorHandleResolve(handle, library.status);
    library.check(`Cannot read a tensor of shape [${shape}]`);
    if (dtype === DataType.string) {
      const strings = readStrings(library, tensor);
      library.TF_DeleteTensor(tensor);
      return strings;
    }
    const bytes = tensorBytes(library, tensor).slice();
    library.TF_DeleteTensor(tensor);
    return valuesOf(dtype, bytes.buffer);
  }

  free({ handle }: EagerTensor): void {
    this.library.TFE_DeleteTensorHandle(handle);
  }

  /**
   * Executes an operation, or a function that was added.
   *
   * @param outputs Maximum number of outputs.
   */
  execute(
    opName: string,
    attributes: readonly Attribute[],
    inputs: readonly EagerTensor[],
    outputs: number,
  ): EagerTensor[] {
    const { library } = this;
    const { status } = library;
    const op = library.TFE_NewOp(this.context, cString(opName), status);
    library.check(`Operation "${opName}"`);
    try {
      setAttributes(library, "TFE_Op", op, opName, attributes);
      for (const { handle } of inputs) {
        library.TFE_OpAddInput(op, handle, status);
        library.check(`Input of operation "${opName}"`);
      }
      const handles = new BigUint64Array(outputs);
      const count = Int32Array.of(outputs);
      library.TFE_Execute(
        op,
        new Uint8Array(handles.buffer),
        new Uint8Array(count.buffer),
        status,
      );
      library.check(`Operation "${opName}"`);
      return Array.from(
        handles.subarray(0, count[0]),
        (address) => this.#describe(address),
      );
    } finally {
      library.TFE_DeleteOp(op);
    }
  }

  #describe(address: bigint): EagerTensor {
    const { library } = this;
    const { status } = library;
    const handle = Deno.UnsafePointer.create(address);
    const length = library.TFE_TensorHandleNumDims(handle, status);
    const shape = Array.from(
      { length },
      (_, i) => Number(library.TFE_TensorHandleDim(handle, i, status)),
    );
    library.check("Cannot get the shape of a tensor");
    const dtype = library.TFE_TensorHandleDataType(handle);
    return { shape, dtype, handle };
  }

  /** Adds a function, which is then executed like an operation of its name. */
  addFunction({ name, made }: GraphFunction): void {
    const { library } = this;
    library.TFE_ContextAddFunction(this.context, made, library.status);
    library.check(`Cannot add the function "${name}"`);
  }

  /** Removes and frees a function. */
  removeFunction({ name, made }: GraphFunction): void {
    const { library } = this;
    const { status } = library;
    library.TFE_ContextRemoveFunction(this.context, cString(name), status);
    library.check(`Cannot remove the function "${name}"`);
    library.TF_DeleteFunction(made);
  }
}
