import { z } from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_FILES } from "./artifacts/adapter.ts";

export default defineTask({
  description:
    "Reduce a LoRA adapter to every rank below its own, without training",
  params: z.strictObject({
    by: z.enum(["truncation", "svd"]).describe(
      "Rank b keeps the first b rows of A and columns of B as they were trained, or the b largest singular values of each product B A",
    ),
  }),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "adapter", files: ADAPTER_FILES },
  async run(stage) {
    const { reduceAdapter } = await import("./adapters/reduce_adapter.ts");
    await reduceAdapter(stage);
  },
});
