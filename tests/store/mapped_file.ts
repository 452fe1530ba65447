import { assert } from "@std/assert";

/** Constants of Linux: open(2), mmap(2). */
const O_RDWR = 2;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;

/** A file that is mapped shared and writable. */
export class MappedFile implements Disposable {
  /** The file's content; what is written here is written to the file. */
  readonly bytes: Uint8Array;
  readonly #close: () => void;

  constructor(path: string) {
    const { open, mmap, munmap, close } = Deno.dlopen("libc.so.6", {
      open: { parameters: ["buffer", "i32"], result: "i32" },
      mmap: {
        parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"],
        result: "pointer",
      },
      munmap: { parameters: ["pointer", "usize"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
    }).symbols;
    const { size } = Deno.statSync(path);
    const file = open(new TextEncoder().encode(`${path}\0`), O_RDWR);
    assert(file >= 0);
    const place = mmap(
      null,
      BigInt(size),
      PROT_READ_WRITE,
      MAP_SHARED,
      file,
      0n,
    );
    close(file);
    assert(place !== null);
    this.bytes = new Uint8Array(
      Deno.UnsafePointerView.getArrayBuffer(place, size),
    );
    this.#close = () => munmap(place, BigInt(size));
  }

  write(text: string): void {
    this.bytes.set(new TextEncoder().encode(text));
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
