import type { LibTensorflow } from "./symbols.ts";

/** A failure that libtensorflow reported, with the code of its `TF_Code`. */
export class TensorflowError extends Error {
  override readonly name = "TensorflowError";
  constructor(message: string, readonly code: number) {
    super(message);
  }
}

/** One reusable `TF_Status`: handed to every call that can fail, checked after it. */
export class Status {
  readonly pointer: Deno.PointerValue;
  readonly #library: LibTensorflow;

  constructor(library: LibTensorflow) {
    this.#library = library;
    this.pointer = library.TF_NewStatus();
  }

  /** Throws what the last call reported, naming what was being done. */
  check(doing: string): void {
    const code = this.#library.TF_GetCode(this.pointer);
    if (code === 0) return;
    const message = this.#library.TF_Message(this.pointer);
    throw new TensorflowError(
      `${doing}: ${
        message ? Deno.UnsafePointerView.getCString(message) : "unknown failure"
      }`,
      code,
    );
  }
}
