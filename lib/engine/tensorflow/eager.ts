import { type Attribute, setAttributes } from "./attributes.ts";
import { cString, type LibTensorflow, type Status } from "./c_api.ts";
import {
  allocateTensor,
  tensorBytes,
  type TensorSource,
  viewOf,
} from "./tensors.ts";

/** A tensor in the library's memory. */
export interface EagerTensor {
  readonly shape: number[];
  readonly dtype: number;
  /** A `TFE_TensorHandle`. */
  readonly handle: Deno.PointerValue;
}

/** The library's eager runtime: it holds tensors and executes operations one by one. */
export class EagerRuntime {
  readonly #library: LibTensorflow;
  readonly #status: Status;
  readonly #context: Deno.PointerValue;

  constructor(
    library: LibTensorflow,
    status: Status,
    context: Deno.PointerValue,
  ) {
    this.#library = library;
    this.#status = status;
    this.#context = context;
  }

  /** Creates a tensor. */
  make(
    shape: number[],
    dtype: number,
    values: TensorSource,
  ): EagerTensor {
    const tensor = allocateTensor(this.#library, shape, dtype, values);
    try {
      const handle = this.#library.TFE_NewTensorHandle(
        tensor,
        this.#status.pointer,
      );
      this.#status.check(`Cannot create a tensor of shape [${shape}]`);
      return { shape, dtype, handle };
    } finally {
      this.#library.TF_DeleteTensor(tensor);
    }
  }

  /** Copies a tensor's values out of the library. */
  read(
    { shape, dtype, handle }: EagerTensor,
  ): Float32Array | Int32Array | Uint8Array {
    const tensor = this.#library.TFE_TensorHandleResolve(
      handle,
      this.#status.pointer,
    );
    this.#status.check(`Cannot read a tensor of shape [${shape}]`);
    try {
      return viewOf(
        dtype,
        tensorBytes(this.#library, tensor).slice().buffer as ArrayBuffer,
      );
    } finally {
      this.#library.TF_DeleteTensor(tensor);
    }
  }

  free({ handle }: EagerTensor): void {
    this.#library.TFE_DeleteTensorHandle(handle);
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
    const library = this.#library;
    const status = this.#status;
    const op = library.TFE_NewOp(
      this.#context,
      cString(opName),
      status.pointer,
    );
    status.check(`Operation "${opName}"`);
    try {
      setAttributes(library, "TFE_Op", op, opName, attributes);
      for (const { handle } of inputs) {
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

  #describe(address: bigint): EagerTensor {
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
    this.#status.check("Cannot get the shape of a tensor");
    return {
      shape,
      dtype: this.#library.TFE_TensorHandleDataType(handle),
      handle,
    };
  }

  /** Adds a `TF_Function`, which is then executed like an operation of this name. */
  addFunction(name: string, made: Deno.PointerValue): void {
    this.#library.TFE_ContextAddFunction(
      this.#context,
      made,
      this.#status.pointer,
    );
    this.#status.check(`Cannot add the function "${name}"`);
  }

  removeFunction(name: string): void {
    this.#library.TFE_ContextRemoveFunction(
      this.#context,
      cString(name),
      this.#status.pointer,
    );
    this.#status.check(`Cannot remove the function "${name}"`);
  }
}
