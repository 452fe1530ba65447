import { assert, assertEquals, assertMatch } from "@std/assert";
import { fileURLToPath } from "node:url";
import { CompiledFunctions } from "../../../lib/engine/tensorflow/compiled.ts";
import { tensorflow } from "../engine.ts";

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

/** A variable in the environment of this process, where the library was opened. */
function variable(name: string): string | undefined {
  const libc = Deno.dlopen("libc.so.6", {
    getenv: { parameters: ["buffer"], result: "pointer" },
  });
  try {
    const value = libc.symbols.getenv(new TextEncoder().encode(`${name}\0`));
    return value === null
      ? undefined
      : Deno.UnsafePointerView.getCString(value);
  } finally {
    libc.close();
  }
}

Deno.test({
  name: "openLibtensorflow() disables YNNPACK fusions",
  ignore: tensorflow === undefined || Deno.build.os === "darwin",
  fn() {
    assertMatch(
      variable("XLA_FLAGS") ?? "",
      /--xla_cpu_experimental_ynn_fusion_type=( |$)/,
    );
  },
});

Deno.test({
  name: "the library logs nothing, whether compiled functions are kept or not",
  ignore: tensorflow === undefined || Deno.build.os === "darwin",
  fn() {
    assertEquals(variable("TF_CPP_MIN_LOG_LEVEL"), "3");
    const environment = CompiledFunctions.environment({
      before: "before",
      now: "now",
    });
    assertEquals(Object.keys(environment), ["TF_XLA_FLAGS"]);
  },
});

Deno.test({
  name:
    "the library prints nothing when it starts, and leaves standard error open",
  ignore: tensorflow === undefined || Deno.build.os === "darwin",
  async fn() {
    const engine = import.meta.resolve("../engine.ts");
    const code = `await import("${engine}"); console.error("opened");`;
    const { stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", code],
    }).output();
    assertEquals(new TextDecoder().decode(stderr), "opened\n");
  },
});

Deno.test({
  name:
    "releasePages() leaves little of the library's files in memory after its start, and after a function was compiled",
  ignore: tensorflow === undefined || Deno.build.os !== "linux",
  async fn() {
    const program = import.meta.resolve("./resident_files.ts");
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--quiet", fileURLToPath(program)],
      stderr: "inherit",
    }).output();
    const sizes = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals(sizes.length, 2);
    // Without it, 257 and 260.
    for (const mib of sizes) assert(mib > 0 && mib < 100, `${mib} MiB`);
  },
});
