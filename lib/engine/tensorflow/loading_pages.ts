import { cString } from "./c_string.ts";

const O_RDONLY = 0;
const MADV_DONTNEED = 4;

/** A stretch of this process's memory. */
interface Mapping {
  readonly start: bigint;
  readonly bytes: bigint;
}

/**
 * Takes the pages of loaded files out of this process's resident memory: most
 * were read only to load them, a few hundred MiB of libtensorflow's symbols,
 * relocations and start-up code. Those that are used come back from the
 * kernel's page cache at their next use.
 *
 * Only pages that nothing has written to are taken out, which hold nothing but
 * what the file holds. Does nothing where the kernel is not Linux, or does not
 * tell of mappings.
 *
 * @param paths Files that stay as they are on disk
 * @throws {Error} If the kernel refuses.
 */
export function releaseLoadingPages(paths: readonly string[]): void {
  if (Deno.build.os !== "linux") return;
  const libc = Deno.dlopen("libc.so.6", {
    madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
  });
  try {
    for (const { start, bytes } of unwrittenMappings(readMappings(), paths)) {
      if (libc.symbols.madvise(start, bytes, MADV_DONTNEED) !== 0) {
        throw new Error(`The kernel refuses to release pages at ${start}`);
      }
    }
  } finally {
    libc.close();
  }
}

/** The kernel's list of mappings, empty if there is none; through libc, since Deno lets only those read it that may read everything. */
function readMappings(): string {
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { open, read, close } = libc.symbols;
  const file = open(cString("/proc/self/smaps"), O_RDONLY);
  try {
    const decoder = new TextDecoder();
    const part = new Uint8Array(2 ** 16);
    let text = "";
    while (file >= 0) {
      const count = Number(read(file, part, BigInt(part.length)));
      if (count < 0) throw new Error('Cannot read "/proc/self/smaps"');
      if (count === 0) break;
      text += decoder.decode(part.subarray(0, count), { stream: true });
    }
    return text + decoder.decode();
  } finally {
    if (file >= 0) close(file);
    libc.close();
  }
}

/**
 * Stretches of memory that map one of the files and hold no page of their own.
 *
 * @param smaps Text of `/proc/self/smaps`: for each mapping a line such as
 *   `7f00-7fa0 r-xp 00000000 fe:00 42  /path`, then `Anonymous:  0 kB` and others
 */
export function unwrittenMappings(
  smaps: string,
  paths: readonly string[],
): Mapping[] {
  const found: Mapping[] = [];
  for (const text of smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [, start, end, flags, path] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)$/m.exec(text) ?? [];
    if (path === undefined || !paths.includes(path)) continue;
    if (flags!.includes("w") || !/^Anonymous: +0 kB$/m.test(text)) continue;
    const first = BigInt(`0x${start}`);
    found.push({ start: first, bytes: BigInt(`0x${end}`) - first });
  }
  return found;
}
