/**
 * Parameters of glibc's `mallopt`, by their numbers in `malloc.h`.
 *
 * A step allocates and frees the same large tensors again and again. By
 * default each of them is mapped and unmapped, and the kernel clears every page
 * of it: a fifth of a step's time. Kept in one heap that does not shrink, they
 * are handed out again as they are.
 */
const parameters = {
  M_MMAP_MAX: [-4, 0],
  M_TRIM_THRESHOLD: [-1, 2 ** 31 - 1],
  M_TOP_PAD: [-2, 2 ** 26],
  M_ARENA_MAX: [-8, 1],
} as const;

/**
 * Has this process keep the memory that the library frees, for its next
 * tensors. Does nothing where the C library is not glibc, which other
 * allocators need not imitate.
 *
 * @throws {Error} If glibc refuses a parameter
 */
export function keepFreedMemory(): void {
  if (Deno.build.os !== "linux") return;
  const libc = Deno.dlopen("libc.so.6", {
    mallopt: {
      parameters: ["i32", "i32"],
      result: "i32",
      optional: true,
    },
  });
  const { mallopt } = libc.symbols;
  if (mallopt === null) return;
  for (const [name, [number, value]] of Object.entries(parameters)) {
    if (mallopt(number, value) !== 1) {
      throw new Error(`mallopt refuses ${name} = ${value}`);
    }
  }
}
