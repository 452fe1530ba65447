/**
 * A function by the type of its result and those of its parameters, in the
 * order of a C prototype.
 */
function c<
  const Result extends Deno.NativeResultType,
  const Parameters extends readonly Deno.NativeType[],
>(result: Result, ...parameters: Parameters) {
  return { parameters, result };
}

/**
 * A pointer; one to bytes of this process, a `Uint8Array`, such as a
 * zero-terminated name; and a `TF_Output`.
 */
const ptr = "pointer";
const buf = "buffer";
const output = { struct: [ptr, "i32"] } as const;

/**
 * The functions of libtensorflow's public C API that the binding calls:
 * `TF_*` (tensors, graphs) and `TFE_*` (eager operations), as declared in the
 * headers `tensorflow/c/c_api.h` and `tensorflow/c/eager/c_api.h`.
 */
const symbols = {
  TF_Version: c(ptr),

  TF_NewStatus: c(ptr),
  TF_GetCode: c("i32", ptr),
  TF_Message: c(ptr, ptr),

  TF_AllocateTensor: c(ptr, "i32", buf, "i32", "usize"),
  TF_DeleteTensor: c("void", ptr),
  TF_TensorData: c(ptr, ptr),
  TF_TensorByteSize: c("usize", ptr),

  TF_StringInit: c("void", ptr),
  TF_StringCopy: c("void", ptr, buf, "usize"),
  TF_StringGetDataPointer: c(ptr, ptr),
  TF_StringGetSize: c("usize", ptr),
  TF_StringDealloc: c("void", ptr),

  TFE_NewContextOptions: c(ptr),
  TFE_ContextOptionsSetConfig: c("void", ptr, buf, "usize", ptr),
  TFE_DeleteContextOptions: c("void", ptr),
  TFE_NewContext: c(ptr, ptr, ptr),
  TFE_ContextListDevices: c(ptr, ptr, ptr),
  TF_DeviceListCount: c("i32", ptr),
  TF_DeviceListType: c(ptr, ptr, "i32", ptr),
  TF_DeleteDeviceList: c("void", ptr),

  TFE_NewTensorHandle: c(ptr, ptr, ptr),
  TFE_DeleteTensorHandle: c("void", ptr),
  TFE_TensorHandleDataType: c("i32", ptr),
  TFE_TensorHandleNumDims: c("i32", ptr, ptr),
  TFE_TensorHandleDim: c("i64", ptr, "i32", ptr),
  TFE_TensorHandleResolve: c(ptr, ptr, ptr),

  TFE_NewOp: c(ptr, ptr, buf, ptr),
  TFE_DeleteOp: c("void", ptr),
  TFE_OpAddInput: c("void", ptr, ptr, ptr),
  TFE_OpSetAttrString: c("void", ptr, buf, buf, "usize"),
  TFE_OpSetAttrStringList: c("void", ptr, buf, buf, buf, "i32"),
  TFE_OpSetAttrInt: c("void", ptr, buf, "i64"),
  TFE_OpSetAttrIntList: c("void", ptr, buf, buf, "i32"),
  TFE_OpSetAttrFloat: c("void", ptr, buf, "f32"),
  TFE_OpSetAttrFloatList: c("void", ptr, buf, buf, "i32"),
  TFE_OpSetAttrBool: c("void", ptr, buf, "u8"),
  TFE_OpSetAttrBoolList: c("void", ptr, buf, buf, "i32"),
  TFE_OpSetAttrType: c("void", ptr, buf, "i32"),
  TFE_OpSetAttrTypeList: c("void", ptr, buf, buf, "i32"),
  TFE_OpSetAttrShape: c("void", ptr, buf, buf, "i32", ptr),
  TFE_Execute: c("void", ptr, buf, buf, ptr),

  TF_NewGraph: c(ptr),
  TF_DeleteGraph: c("void", ptr),
  TF_NewOperation: c(ptr, ptr, buf, buf),
  TF_AddControlInput: c("void", ptr, ptr),
  TF_AddInput: c("void", ptr, output),
  TF_AddInputList: c("void", ptr, buf, "i32"),
  TF_SetAttrString: c("void", ptr, buf, buf, "usize"),
  TF_SetAttrStringList: c("void", ptr, buf, buf, buf, "i32"),
  TF_SetAttrInt: c("void", ptr, buf, "i64"),
  TF_SetAttrIntList: c("void", ptr, buf, buf, "i32"),
  TF_SetAttrFloat: c("void", ptr, buf, "f32"),
  TF_SetAttrFloatList: c("void", ptr, buf, buf, "i32"),
  TF_SetAttrBool: c("void", ptr, buf, "u8"),
  TF_SetAttrBoolList: c("void", ptr, buf, buf, "i32"),
  TF_SetAttrType: c("void", ptr, buf, "i32"),
  TF_SetAttrTypeList: c("void", ptr, buf, buf, "i32"),
  TF_SetAttrFuncName: c("void", ptr, buf, buf, "usize"),
  TF_SetAttrShape: c("void", ptr, buf, buf, "i32"),
  TF_SetAttrTensor: c("void", ptr, buf, ptr, ptr),
  TF_FinishOperation: c(ptr, ptr, ptr),
  TF_OperationOutputType: c("i32", output),
  TF_GraphGetTensorNumDims: c("i32", ptr, output, ptr),
  TF_GraphGetTensorShape: c("void", ptr, output, buf, "i32", ptr),
  TF_GraphToFunction: c(
    ptr,
    ptr,
    buf,
    "u8",
    "i32",
    ptr,
    "i32",
    buf,
    "i32",
    buf,
    ptr,
    ptr,
    ptr,
    ptr,
  ),
  TF_DeleteFunction: c("void", ptr),
  TF_GraphCopyFunction: c("void", ptr, ptr, ptr, ptr),
  TF_FunctionSetAttrValueProto: c("void", ptr, buf, buf, "usize", ptr),
  TFE_ContextAddFunction: c("void", ptr, ptr, ptr),
  TFE_ContextRemoveFunction: c("void", ptr, buf, ptr),
} as const satisfies Deno.ForeignLibraryInterface;

type Functions = Deno.DynamicLibrary<typeof symbols>["symbols"];

/**
 * The functions of an open libtensorflow, and the status of those that can
 * fail.
 */
export interface LibTensorflow extends Functions {
  /** The `TF_Status` that is passed to every call that can fail. */
  readonly status: Deno.PointerValue;
  /**
   * Takes the library's files out of memory, most of which only loading or
   * compiling reads: what is used comes back from the system's page cache.
   */
  releasePages(): void;
  /**
   * Throws if the last call failed.
   *
   * @param action What the call was for; the prefix of the error message.
   */
  check(action: string): void;
}

/**
 * Opens a library that is loaded already, with one status for all its calls.
 */
export function openSymbols(
  path: string,
  releasePages: () => void,
): LibTensorflow {
  const library = Deno.dlopen(path, symbols).symbols;
  const status = library.TF_NewStatus();
  return {
    ...library,
    status,
    releasePages,
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

/**
 * Zero-terminated bytes of a text. Memoized, since names of operations and
 * attributes recur.
 */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return cStrings.getOrInsertComputed(
    text,
    () => encoder.encode(text + "\0"),
  );
}

/** Integers as the bytes of an `int64_t[]`. */
export function int64Bytes(values: readonly number[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
}
