import { assertEquals, assertThrows } from "@std/assert";
import { sharesOf } from "./samples.ts";

/** Samples as perf 6.12 prints them. */
const SAMPLES = `
     71      562cfd2d41da [unknown] (/opt/deno)
     84      7fadc7fc0130 jit_brgemm_kernel_t.0 (/tmp/perf-71.map)
     84      7fadc7fc0140 jit_brgemm_kernel_t.59 (/tmp/perf-71.map)
     84      7fadc7fc0150 jit_brgemm_matmul_copy_b_bf16_t.12 (/tmp/perf-71.map)
     84      7fadc7fc0160 jit_uni_reorder_kernel_f32.6 (/tmp/perf-71.map)
     84      7f27a95ba2e1 [unknown] ([JIT] tid 71)
     84      7f6e98dfedef __memmove_avx512_unaligned_erms (/lib/libc.so.6)
     84      7f6e98df0000 Eigen::internal::EvalRange<(int)8, long>::run(long) (/cache/libtensorflow_cc.so.2)
     84      7f6e98df1000 tensorflow::Tensor::~Tensor() (/cache/libtensorflow_framework.so.2)
     84  ffffffff8162d2fc ___slab_alloc ([kernel.kallsyms])
`;

Deno.test("sharesOf() tells products, what prepares them, fused loops, other operations and dispatch apart", () => {
  assertEquals(Object.fromEntries(sharesOf(SAMPLES, 71)), {
    "products": 0.2,
    "packing and casts for products": 0.2,
    "fused loops": 0.1,
    "other operations": 0.2,
    "dispatch and memory": 0.2,
    "JavaScript": 0.1,
  });
  assertThrows(() => sharesOf("", 71), Error, "no samples");
});
