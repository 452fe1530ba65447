import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { tensorflow } from "./engine.ts";

/** Minutes: with DYLORA_LONG=1. */
const ignore = tensorflow === undefined || Deno.build.os === "darwin" ||
  Deno.env.get("DYLORA_LONG") !== "1";

/** How a process ends that has two threads run newly compiled sums at once, so many times. */
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
  name: "threads that run newly compiled sums at once do not crash",
  ignore,
  async fn() {
    const { success, signal, stderr } = await runLoops(3000, {});
    assert(success, `${signal}: ${new TextDecoder().decode(stderr)}`);
  },
});

Deno.test({
  name:
    "the library left to itself crashes when threads run newly compiled sums at once; if this fails, the setting may go",
  ignore,
  async fn() {
    // Any flag, so that ours is not set: it is what the library does anyway.
    const XLA_FLAGS = "--xla_cpu_multi_thread_eigen=true";
    const { signal } = await runLoops(30_000, { XLA_FLAGS });
    assertEquals(signal, "SIGSEGV");
  },
});

Deno.test({
  name:
    "the library builds no fusions of YNNPACK, over which threads that build them at once crash",
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
