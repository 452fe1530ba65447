import * as z from "zod";
import { ADAPTER_FILES } from "../lib/peft/adapter.ts";
import { Reduction } from "../lib/engine/schedules/registry.ts";
import { defineTask } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Make a LoRA adapter serve every rank up to its own, without training",
  params: z.strictObject({
    by: Reduction.describe(
      "What rank b uses: truncation keeps the first b rows of A and columns of B as trained, svd the b largest singular values of each product B A",
    ),
  }),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "adapter", files: ADAPTER_FILES },
  run: async (stage) => (await import("../lib/stages/reduce.ts")).reduce(stage),
});
