import * as z from "zod";
import { ADAPTER_FILES } from "../lib/artifacts/adapter.ts";
import { RankScaling } from "../lib/engine/adapters/scale.ts";
import { fixed } from "../lib/engine/schedules/fixed.ts";
import { Reduction } from "../lib/engine/schedules/registry.ts";
import { defineTask } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Make a LoRA adapter serve every rank up to its own, without training",
  params: z.strictObject({
    by: Reduction.describe(
      "What rank b uses: truncation keeps the first b rows of A and columns of B as trained, svd the b largest singular values of each product B A",
    ),
    scaling: RankScaling.default(fixed.scaling).describe(
      "Scale at rank b: maximum = alpha / R at every b, with R the rank of the adapter; {exponent: p} = (alpha / R) (R / b)^p, which is larger at lower ranks; rank = alpha / b",
    ),
  }),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "adapter", files: ADAPTER_FILES },
  run: async (stage) => (await import("../lib/stages/reduce.ts")).reduce(stage),
});
