/** Processor numbers of ELF headers (`e_machine`). */
const ELF_MACHINES: Readonly<Record<number, string>> = {
  3: "x86",
  40: "arm",
  62: "x86_64",
  183: "aarch64",
  243: "riscv64",
};

/** Processor numbers of Mach-O headers (`cputype`). */
const MACH_O_MACHINES: Readonly<Record<number, string>> = {
  0x01000007: "x86_64",
  0x0100000c: "aarch64",
};

/**
 * Processor that a shared library is made for, read from its header.
 *
 * @returns `x86_64`, `aarch64`, ... or undefined if the file is no 64-bit little-endian library.
 */
export async function machineOf(path: string): Promise<string | undefined> {
  using file = await Deno.open(path);
  const header = new Uint8Array(20);
  if (await file.read(header) !== header.length) return undefined;
  const view = new DataView(header.buffer);
  if (view.getUint32(0) === 0x7f454c46 && header[4] === 2 && header[5] === 1) {
    const machine = view.getUint16(18, true);
    return ELF_MACHINES[machine] ?? `ELF machine ${machine}`;
  }
  if (view.getUint32(0, true) === 0xfeedfacf) {
    const machine = view.getUint32(4, true);
    return MACH_O_MACHINES[machine] ?? `Mach-O processor ${machine}`;
  }
  return undefined;
}
