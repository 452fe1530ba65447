import assert from "node:assert/strict";
import { tensorflow } from "./engine.ts";

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
      assert.match(
        flags === null ? "" : Deno.UnsafePointerView.getCString(flags),
        /--xla_cpu_experimental_ynn_fusion_type=( |$)/,
      );
    } finally {
      libc.close();
    }
  },
});
