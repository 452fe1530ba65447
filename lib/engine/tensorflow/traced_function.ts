import { cString } from "./c_string.ts";
import type { Status } from "./status.ts";
import type { LibTensorflow } from "./symbols.ts";

/** A traced function: its name in the library, what it was traced with, and what it gives. */
export interface TracedFunction {
  readonly name: string;
  /** Ids of the tensors outside the function that it uses. They must outlive it. */
  readonly captures: readonly number[];
  readonly outputs: readonly { shape: number[]; dtype: number }[];
  /** The library's `TF_Function`. */
  readonly made: Deno.PointerValue;
}

/** How a trace is made into a function. */
export interface FunctionOptions {
  /** Compiles the whole function by XLA, which fuses its loops. */
  readonly compiled: boolean;
  /** Results, by number, that are kept in bfloat16 in mixed precision: those that products take. */
  readonly narrow: readonly number[];
}

/** A `tensorflow.AttrValue` of true: field 5, `b`. */
const attributeTrue = Uint8Array.of(0x28, 1);

/** Has a `TF_Function` compiled by XLA when it is first called with new shapes. */
export function compileFunction(
  library: LibTensorflow,
  status: Status,
  name: string,
  made: Deno.PointerValue,
): void {
  library.TF_FunctionSetAttrValueProto(
    made,
    cString("_XlaMustCompile"),
    attributeTrue,
    BigInt(attributeTrue.length),
    status.pointer,
  );
  status.check(`Have the function "${name}" compiled`);
}
