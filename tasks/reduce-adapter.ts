import * as z from "zod";
import {
  ADAPTER_FILES,
  readAdapter,
  writeAdapter,
} from "../lib/peft/adapter.ts";
import type { AdapterTensors } from "../lib/engine/adapters/adapter.ts";
import { kindNamed, sortAdapter } from "../lib/engine/adapters/registry.ts";
import { fixed } from "../lib/engine/schedules/fixed.ts";
import {
  methodName,
  provenanceOf,
  Reduction,
} from "../lib/engine/schedules/registry.ts";
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
  async run({ params: { by }, inputs, output }) {
    const adapter = await readAdapter(inputs.adapter.path);
    const { training } = adapter;
    const { reducedBy, heads } = training;
    if (training.method.name !== fixed.name || reducedBy !== null || heads) {
      const method = methodName(provenanceOf(training));
      throw new SyntaxError(
        `An adapter of method "${method}" cannot be reduced: connect a stage of the task "train-lora", or "import-adapter" of a LoRA`,
      );
    }
    const reduced = (tensors: AdapterTensors) =>
      by === "svd"
        ? sortAdapter(kindNamed(training.adapter), tensors)
        : tensors;
    await writeAdapter(output, {
      ...adapter,
      training: { ...training, reducedBy: by },
      tensors: reduced(adapter.tensors),
      best: adapter.best && reduced(adapter.best),
    });
  },
});
