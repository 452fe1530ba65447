/**
 * The functions of libtensorflow's public C API that the binding calls:
 * `TF_*` (tensors, graphs) and `TFE_*` (eager operations), as declared in the
 * headers `tensorflow/c/c_api.h` and `tensorflow/c/eager/c_api.h`.
 *
 * `buffer` parameters take a `Uint8Array`; names are zero-terminated.
 */
export const symbols = {
  TF_Version: { parameters: [], result: "pointer" },

  TF_NewStatus: { parameters: [], result: "pointer" },
  TF_GetCode: { parameters: ["pointer"], result: "i32" },
  TF_Message: { parameters: ["pointer"], result: "pointer" },

  TF_AllocateTensor: {
    parameters: ["i32", "buffer", "i32", "usize"],
    result: "pointer",
  },
  TF_DeleteTensor: { parameters: ["pointer"], result: "void" },
  TF_TensorData: { parameters: ["pointer"], result: "pointer" },
  TF_TensorByteSize: { parameters: ["pointer"], result: "usize" },

  TFE_NewContextOptions: { parameters: [], result: "pointer" },
  TFE_ContextOptionsSetConfig: {
    parameters: ["pointer", "buffer", "usize", "pointer"],
    result: "void",
  },
  TFE_DeleteContextOptions: { parameters: ["pointer"], result: "void" },
  TFE_NewContext: { parameters: ["pointer", "pointer"], result: "pointer" },
  TFE_ContextListDevices: {
    parameters: ["pointer", "pointer"],
    result: "pointer",
  },
  TF_DeviceListCount: { parameters: ["pointer"], result: "i32" },
  TF_DeviceListName: {
    parameters: ["pointer", "i32", "pointer"],
    result: "pointer",
  },
  TF_DeviceListType: {
    parameters: ["pointer", "i32", "pointer"],
    result: "pointer",
  },
  TF_DeleteDeviceList: { parameters: ["pointer"], result: "void" },

  TFE_NewTensorHandle: {
    parameters: ["pointer", "pointer"],
    result: "pointer",
  },
  TFE_DeleteTensorHandle: { parameters: ["pointer"], result: "void" },
  TFE_TensorHandleDataType: { parameters: ["pointer"], result: "i32" },
  TFE_TensorHandleNumDims: {
    parameters: ["pointer", "pointer"],
    result: "i32",
  },
  TFE_TensorHandleDim: {
    parameters: ["pointer", "i32", "pointer"],
    result: "i64",
  },
  TFE_TensorHandleResolve: {
    parameters: ["pointer", "pointer"],
    result: "pointer",
  },

  TFE_NewOp: {
    parameters: ["pointer", "buffer", "pointer"],
    result: "pointer",
  },
  TFE_DeleteOp: { parameters: ["pointer"], result: "void" },
  TFE_OpAddInput: {
    parameters: ["pointer", "pointer", "pointer"],
    result: "void",
  },
  TFE_OpSetAttrString: {
    parameters: ["pointer", "buffer", "buffer", "usize"],
    result: "void",
  },
  TFE_OpSetAttrInt: {
    parameters: ["pointer", "buffer", "i64"],
    result: "void",
  },
  TFE_OpSetAttrFloat: {
    parameters: ["pointer", "buffer", "f32"],
    result: "void",
  },
  TFE_OpSetAttrBool: {
    parameters: ["pointer", "buffer", "u8"],
    result: "void",
  },
  TFE_OpSetAttrType: {
    parameters: ["pointer", "buffer", "i32"],
    result: "void",
  },
  TFE_OpSetAttrIntList: {
    parameters: ["pointer", "buffer", "buffer", "i32"],
    result: "void",
  },
  TFE_Execute: {
    parameters: ["pointer", "buffer", "buffer", "pointer"],
    result: "void",
  },

  TF_NewGraph: { parameters: [], result: "pointer" },
  TF_DeleteGraph: { parameters: ["pointer"], result: "void" },
  TF_NewOperation: {
    parameters: ["pointer", "buffer", "buffer"],
    result: "pointer",
  },
  TF_AddInput: {
    parameters: ["pointer", { struct: ["pointer", "i32"] }],
    result: "void",
  },
  TF_AddInputList: { parameters: ["pointer", "buffer", "i32"], result: "void" },
  TF_SetAttrString: {
    parameters: ["pointer", "buffer", "buffer", "usize"],
    result: "void",
  },
  TF_SetAttrInt: { parameters: ["pointer", "buffer", "i64"], result: "void" },
  TF_SetAttrFloat: { parameters: ["pointer", "buffer", "f32"], result: "void" },
  TF_SetAttrBool: { parameters: ["pointer", "buffer", "u8"], result: "void" },
  TF_SetAttrType: { parameters: ["pointer", "buffer", "i32"], result: "void" },
  TF_SetAttrTypeList: {
    parameters: ["pointer", "buffer", "buffer", "i32"],
    result: "void",
  },
  TF_SetAttrFuncName: {
    parameters: ["pointer", "buffer", "buffer", "usize"],
    result: "void",
  },
  TF_SetAttrShape: {
    parameters: ["pointer", "buffer", "buffer", "i32"],
    result: "void",
  },
  TF_SetAttrIntList: {
    parameters: ["pointer", "buffer", "buffer", "i32"],
    result: "void",
  },
  TF_SetAttrTensor: {
    parameters: ["pointer", "buffer", "pointer", "pointer"],
    result: "void",
  },
  TF_FinishOperation: { parameters: ["pointer", "pointer"], result: "pointer" },
  TF_OperationOutputType: {
    parameters: [{ struct: ["pointer", "i32"] }],
    result: "i32",
  },
  TF_GraphGetTensorNumDims: {
    parameters: ["pointer", { struct: ["pointer", "i32"] }, "pointer"],
    result: "i32",
  },
  TF_GraphGetTensorShape: {
    parameters: [
      "pointer",
      { struct: ["pointer", "i32"] },
      "buffer",
      "i32",
      "pointer",
    ],
    result: "void",
  },
  TF_GraphToFunction: {
    parameters: [
      "pointer",
      "buffer",
      "u8",
      "i32",
      "pointer",
      "i32",
      "buffer",
      "i32",
      "buffer",
      "pointer",
      "pointer",
      "pointer",
      "pointer",
    ],
    result: "pointer",
  },
  TF_DeleteFunction: { parameters: ["pointer"], result: "void" },
  TF_GraphCopyFunction: {
    parameters: ["pointer", "pointer", "pointer", "pointer"],
    result: "void",
  },
  TF_FunctionSetAttrValueProto: {
    parameters: ["pointer", "buffer", "buffer", "usize", "pointer"],
    result: "void",
  },
  TFE_ContextAddFunction: {
    parameters: ["pointer", "pointer", "pointer"],
    result: "void",
  },
  TFE_ContextRemoveFunction: {
    parameters: ["pointer", "buffer", "pointer"],
    result: "void",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of an open libtensorflow. */
export type LibTensorflow = Deno.DynamicLibrary<typeof symbols>["symbols"];

/** A failure reported by libtensorflow. */
class TensorflowError extends Error {
  override readonly name = "TensorflowError";
}

/** A reusable `TF_Status`: passed to every call that can fail and checked after it. */
export class Status {
  readonly pointer: Deno.PointerValue;
  readonly #library: LibTensorflow;

  constructor(library: LibTensorflow) {
    this.#library = library;
    this.pointer = library.TF_NewStatus();
  }

  /**
   * Throws if the last call failed.
   *
   * @param action What the call was for; the prefix of the error message.
   */
  check(action: string): void {
    if (this.#library.TF_GetCode(this.pointer) === 0) return;
    const message = this.#library.TF_Message(this.pointer);
    throw new TensorflowError(
      `${action}: ${
        message ? Deno.UnsafePointerView.getCString(message) : "unknown error"
      }`,
    );
  }
}

const encoder = new TextEncoder();
const cStrings = new Map<string, Uint8Array<ArrayBuffer>>();

/** Zero-terminated bytes of a text. Memoized, since names of operations and attributes recur. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  let bytes = cStrings.get(text);
  if (bytes === undefined) {
    bytes = encoder.encode(text + "\0");
    cStrings.set(text, bytes);
  }
  return bytes;
}

/** Integers as the bytes of an `int64_t[]`. */
export function int64Bytes(values: readonly number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
}
