/** A function by the type of its result and those of its parameters, in the order of a C prototype. */
function c<
  const Result extends Deno.NativeResultType,
  const Parameters extends readonly Deno.NativeType[],
>(result: Result, ...parameters: Parameters) {
  return { parameters, result };
}

/** `TF_Output` */
const output = { struct: ["pointer", "i32"] } as const;

/**
 * The functions of libtensorflow's public C API that the binding calls:
 * `TF_*` (tensors, graphs) and `TFE_*` (eager operations), as declared in the
 * headers `tensorflow/c/c_api.h` and `tensorflow/c/eager/c_api.h`.
 *
 * `buffer` parameters take a `Uint8Array`; names are zero-terminated.
 */
const symbols = {
  TF_Version: c("pointer"),

  TF_NewStatus: c("pointer"),
  TF_GetCode: c("i32", "pointer"),
  TF_Message: c("pointer", "pointer"),

  TF_AllocateTensor: c("pointer", "i32", "buffer", "i32", "usize"),
  TF_DeleteTensor: c("void", "pointer"),
  TF_TensorData: c("pointer", "pointer"),
  TF_TensorByteSize: c("usize", "pointer"),

  TFE_NewContextOptions: c("pointer"),
  TFE_ContextOptionsSetConfig: c(
    "void",
    "pointer",
    "buffer",
    "usize",
    "pointer",
  ),
  TFE_DeleteContextOptions: c("void", "pointer"),
  TFE_NewContext: c("pointer", "pointer", "pointer"),
  TFE_ContextListDevices: c("pointer", "pointer", "pointer"),
  TF_DeviceListCount: c("i32", "pointer"),
  TF_DeviceListType: c("pointer", "pointer", "i32", "pointer"),
  TF_DeleteDeviceList: c("void", "pointer"),

  TFE_NewTensorHandle: c("pointer", "pointer", "pointer"),
  TFE_DeleteTensorHandle: c("void", "pointer"),
  TFE_TensorHandleDataType: c("i32", "pointer"),
  TFE_TensorHandleNumDims: c("i32", "pointer", "pointer"),
  TFE_TensorHandleDim: c("i64", "pointer", "i32", "pointer"),
  TFE_TensorHandleResolve: c("pointer", "pointer", "pointer"),

  TFE_NewOp: c("pointer", "pointer", "buffer", "pointer"),
  TFE_DeleteOp: c("void", "pointer"),
  TFE_OpAddInput: c("void", "pointer", "pointer", "pointer"),
  TFE_OpSetAttrString: c("void", "pointer", "buffer", "buffer", "usize"),
  TFE_OpSetAttrInt: c("void", "pointer", "buffer", "i64"),
  TFE_OpSetAttrFloat: c("void", "pointer", "buffer", "f32"),
  TFE_OpSetAttrBool: c("void", "pointer", "buffer", "u8"),
  TFE_OpSetAttrType: c("void", "pointer", "buffer", "i32"),
  TFE_OpSetAttrIntList: c("void", "pointer", "buffer", "buffer", "i32"),
  TFE_Execute: c("void", "pointer", "buffer", "buffer", "pointer"),

  TF_NewGraph: c("pointer"),
  TF_DeleteGraph: c("void", "pointer"),
  TF_NewOperation: c("pointer", "pointer", "buffer", "buffer"),
  TF_AddControlInput: c("void", "pointer", "pointer"),
  TF_AddInput: c("void", "pointer", output),
  TF_AddInputList: c("void", "pointer", "buffer", "i32"),
  TF_SetAttrString: c("void", "pointer", "buffer", "buffer", "usize"),
  TF_SetAttrInt: c("void", "pointer", "buffer", "i64"),
  TF_SetAttrFloat: c("void", "pointer", "buffer", "f32"),
  TF_SetAttrBool: c("void", "pointer", "buffer", "u8"),
  TF_SetAttrType: c("void", "pointer", "buffer", "i32"),
  TF_SetAttrTypeList: c("void", "pointer", "buffer", "buffer", "i32"),
  TF_SetAttrFuncName: c("void", "pointer", "buffer", "buffer", "usize"),
  TF_SetAttrShape: c("void", "pointer", "buffer", "buffer", "i32"),
  TF_SetAttrIntList: c("void", "pointer", "buffer", "buffer", "i32"),
  TF_SetAttrTensor: c("void", "pointer", "buffer", "pointer", "pointer"),
  TF_FinishOperation: c("pointer", "pointer", "pointer"),
  TF_OperationOutputType: c("i32", output),
  TF_GraphGetTensorNumDims: c("i32", "pointer", output, "pointer"),
  TF_GraphGetTensorShape: c(
    "void",
    "pointer",
    output,
    "buffer",
    "i32",
    "pointer",
  ),
  TF_GraphToFunction: c(
    "pointer",
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
  ),
  TF_DeleteFunction: c("void", "pointer"),
  TF_GraphCopyFunction: c("void", "pointer", "pointer", "pointer", "pointer"),
  TF_FunctionSetAttrValueProto: c(
    "void",
    "pointer",
    "buffer",
    "buffer",
    "usize",
    "pointer",
  ),
  TFE_ContextAddFunction: c("void", "pointer", "pointer", "pointer"),
  TFE_ContextRemoveFunction: c("void", "pointer", "buffer", "pointer"),
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of an open libtensorflow, and the status of those that can fail. */
export type LibTensorflow =
  & Deno.DynamicLibrary<typeof symbols>["symbols"]
  & {
    /** The `TF_Status` that is passed to every call that can fail. */
    readonly status: Deno.PointerValue;
    /**
     * Throws if the last call failed.
     *
     * @param action What the call was for; the prefix of the error message.
     */
    check(action: string): void;
  };

/** Opens a library that is loaded already, with one status for all its calls. */
export function openSymbols(path: string): LibTensorflow {
  const library = Deno.dlopen(path, symbols).symbols;
  const status = library.TF_NewStatus();
  return {
    ...library,
    status,
    check(action) {
      if (library.TF_GetCode(status) === 0) return;
      throw new Error(`${action}: ${textAt(library.TF_Message(status))}`);
    },
  };
}

/** The zero-terminated text at an address. */
export function textAt(address: Deno.PointerValue): string {
  return address === null
    ? "unknown error"
    : Deno.UnsafePointerView.getCString(address);
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
