import { assert, assertEquals, assertMatch } from "@std/assert";
import * as tf from "@tensorflow/tfjs-core";
import { fileURLToPath } from "node:url";
import { selectEngine } from "../../../lib/engine/install/choose.ts";
import {
  libraryFiles,
  releaseLoadingPages,
  unwrittenMappings,
} from "../../../lib/engine/tensorflow/open.ts";
import { tensorflow } from "../engine.ts";
import { assertSameBits } from "../reference.ts";

/** Takes minutes, so it runs with DYLORA_LONG=1 only. */
const ignore = tensorflow === undefined || Deno.build.os === "darwin" ||
  Deno.env.get("DYLORA_LONG") !== "1";

/** The result of a process in which two threads run newly compiled sums concurrently, `loops` times. */
async function runLoops(loops: number, env: Record<string, string>) {
  const program = fileURLToPath(
    import.meta.resolve("./concurrent_compiles.ts"),
  );
  return await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", program, String(loops)],
    env,
  }).output();
}

Deno.test({
  name: "threads that run newly compiled sums concurrently do not crash",
  ignore,
  async fn() {
    const { success, signal, stderr } = await runLoops(3000, {});
    assert(success, `${signal}: ${new TextDecoder().decode(stderr)}`);
  },
});

Deno.test({
  name:
    "the library crashes with YNNPACK fusions; if this fails, the setting can be removed",
  ignore,
  async fn() {
    // Any value prevents the setting; this one is the library's default.
    const XLA_FLAGS = "--xla_cpu_multi_thread_eigen=true";
    const { signal } = await runLoops(30_000, { XLA_FLAGS });
    assertEquals(signal, "SIGSEGV");
  },
});

Deno.test({
  name: "openLibtensorflow() disables YNNPACK fusions",
  ignore: tensorflow === undefined || Deno.build.os === "darwin",
  fn() {
    const libc = Deno.dlopen("libc.so.6", {
      getenv: { parameters: ["buffer"], result: "pointer" },
    });
    try {
      const flags = libc.symbols.getenv(
        new TextEncoder().encode("XLA_FLAGS\0"),
      );
      assertMatch(
        flags === null ? "" : Deno.UnsafePointerView.getCString(flags),
        /--xla_cpu_experimental_ynn_fusion_type=( |$)/,
      );
    } finally {
      libc.close();
    }
  },
});

const SMAPS =
  `7f0000000000-7f0000100000 r--p 00000000 fe:00 42                 /lib/a b.so
Rss:                 900 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
7f0000100000-7f0000180000 r-xp 00100000 fe:00 42                 /lib/a b.so
Rss:                 400 kB
Anonymous:             0 kB
7f0000180000-7f0000190000 r--p 00180000 fe:00 42                 /lib/a b.so
Rss:                  64 kB
Anonymous:            64 kB
7f0000190000-7f00001a0000 rw-p 00190000 fe:00 42                 /lib/a b.so
Rss:                  64 kB
Anonymous:             0 kB
7f0000200000-7f0000300000 r-xp 00000000 fe:00 43                 /lib/other.so
Anonymous:             0 kB
7ffd00000000-7ffd00100000 rw-p 00000000 00:00 0
Anonymous:            12 kB
`;

Deno.test("unwrittenMappings() finds the mappings of a file without modified pages", () => {
  assertEquals(unwrittenMappings(SMAPS, ["/lib/a b.so", "/lib/none.so"]), [
    { start: 0x7f0000000000n, bytes: 0x100000n },
    { start: 0x7f0000100000n, bytes: 0x80000n },
  ]);
});

Deno.test({
  name:
    "releaseLoadingPages() reduces the resident memory, and the library still computes the same",
  ignore: tensorflow === undefined || Deno.build.os !== "linux",
  async fn() {
    const { library } = await selectEngine("tensorflow");
    const paths = libraryFiles(library!).map((path) => Deno.realPathSync(path));
    const a = tf.randomNormal([64, 64], 0, 1, "float32", 1);
    const product = () => tf.matMul(a, a).dataSync();
    const before = product();
    releaseLoadingPages(paths);
    const released = residentKib(paths);
    // Symbols and relocations alone are tens of thousands of pages; this reads all of them.
    for (const path of paths) touchAll(path);
    const touched = residentKib(paths);
    assert(touched > released + 50_000, `${released} to ${touched} KiB`);
    releaseLoadingPages(paths);
    assert(residentKib(paths) < touched - 50_000, `from ${touched} KiB`);
    assertSameBits(product(), before);
  },
});

/** Resident memory of the mappings of these files, in KiB. */
function residentKib(paths: readonly string[]): number {
  const mappings = Deno.readTextFileSync("/proc/self/smaps")
    .split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  return mappings
    .filter((text) => paths.some((path) => text.includes(path)))
    .reduce(
      (sum, text) => sum + Number(/^Rss: +(\d+) kB$/m.exec(text)![1]),
      0,
    );
}

/** Reads a byte of every page of a file's mappings. */
function touchAll(path: string): void {
  const smaps = Deno.readTextFileSync("/proc/self/smaps");
  let sum = 0;
  for (const { start, bytes } of unwrittenMappings(smaps, [path])) {
    const view = new Deno.UnsafePointerView(
      Deno.UnsafePointer.create(start) as Deno.PointerObject,
    );
    for (let offset = 0; offset < bytes; offset += 4096) {
      sum += view.getUint8(offset);
    }
  }
  assert(sum > 0);
}
