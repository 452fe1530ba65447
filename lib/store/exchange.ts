/** Lets two paths change places in one step of the kernel. */
type Exchange = (
  a: Uint8Array<ArrayBuffer>,
  b: Uint8Array<ArrayBuffer>,
) => number;

/** `AT_FDCWD`: paths are relative to the current folder. */
const HERE = -100;
/** `RENAME_EXCHANGE` of Linux and `RENAME_SWAP` of macOS. */
const SWAP = 2;

let found: Exchange | undefined;
let looked = false;

/**
 * Makes two files or folders of one file system change places, so that nobody
 * ever finds one of the paths empty.
 *
 * @returns False if that cannot be done here, in which case nothing was.
 */
export function exchange(a: string, b: string): boolean {
  if (!looked) found = find();
  looked = true;
  return found !== undefined && found(pathBytes(a), pathBytes(b)) === 0;
}

function find(): Exchange | undefined {
  try {
    if (Deno.build.os === "linux") {
      const { symbols } = Deno.dlopen("libc.so.6", {
        renameat2: {
          parameters: ["i32", "buffer", "i32", "buffer", "u32"],
          result: "i32",
        },
      });
      return (a, b) => symbols.renameat2(HERE, a, HERE, b, SWAP);
    }
    if (Deno.build.os === "darwin") {
      const { symbols } = Deno.dlopen("libSystem.B.dylib", {
        renamex_np: { parameters: ["buffer", "buffer", "u32"], result: "i32" },
      });
      return (a, b) => symbols.renamex_np(a, b, SWAP);
    }
    return undefined;
  } catch (error) {
    // Another C library, or an older one: the caller has its own way then.
    if (error instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}

function pathBytes(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${path}\0`);
}
