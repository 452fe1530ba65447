import * as z from "zod";
import {
  ADAPTER_FILES,
  readAdapter,
  writeAdapter,
} from "../lib/artifacts/adapter.ts";
import type { AdapterTensors } from "../lib/engine/adapters/lora.ts";
import { fixed } from "../lib/engine/schedules/fixed.ts";
import { methodName, Reduction } from "../lib/engine/schedules/registry.ts";
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
  async run(stage) {
    const { by } = stage.params;
    const adapter = await readAdapter(stage.inputs.adapter.path);
    const { training } = adapter;
    if (training.method.name !== fixed.name || training.reducedBy !== null) {
      throw new SyntaxError(
        `An adapter of method "${
          methodName(training)
        }" cannot be reduced: connect a stage of the task "train-lora", or "import-adapter" of a LoRA`,
      );
    }
    const { sortAdapter } = await import("../lib/engine/adapters/lora.ts");
    const reduced = (tensors: AdapterTensors) =>
      by === "svd" ? sortAdapter(tensors) : tensors;
    await writeAdapter(stage.output, {
      ...adapter,
      training: { ...training, reducedBy: by },
      tensors: reduced(adapter.tensors),
      best: adapter.best && reduced(adapter.best),
    });
  },
});
