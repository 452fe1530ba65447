import { z } from "zod";
import {
  ADAPTER_FILES,
  type AdapterTensors,
  readAdapter,
  writeAdapter,
} from "../lib/artifacts/adapter.ts";
import type { TensorValues } from "../lib/engine/safetensors/writer.ts";
import { ADAPTER_METHODS } from "../lib/engine/methods/registry.ts";
import { defineTask } from "../lib/pipeline/task.ts";

export default defineTask({
  description:
    "Make a LoRA adapter serve every rank up to its own, without training",
  params: z.strictObject({
    by: z.enum(["truncation", "svd"]).describe(
      "What rank b uses: truncation keeps the first b rows of A and columns of B as trained, svd the b largest singular values of each product B A",
    ),
  }),
  inputs: { adapter: { kind: "adapter" } },
  output: { kind: "adapter", files: ADAPTER_FILES },
  async run(stage) {
    const { by } = stage.params;
    const adapter = await readAdapter(stage.inputs.adapter![0]!.path);
    const { method, rank } = adapter.training;
    const reduction = ADAPTER_METHODS.find(({ reduces }) =>
      reduces?.method === method && reduces.by === by
    );
    if (reduction === undefined) {
      throw new SyntaxError(
        `An adapter of method "${method}" cannot be reduced: connect a stage of the task "train-lora", or "import-adapter" of a LoRA`,
      );
    }
    const reduced = (tensors: AdapterTensors) =>
      by === "svd" ? factoredTensors(tensors, rank) : tensors;
    await writeAdapter(stage.output, {
      ...adapter,
      training: {
        ...adapter.training,
        method: reduction.name,
        scaling: "maximum",
      },
      tensors: await reduced(adapter.tensors),
      best: adapter.best && await reduced(adapter.best),
    });
  },
});

/** Replaces each `lora_A` and `lora_B` by factors ordered by descending singular value. */
async function factoredTensors(
  tensors: AdapterTensors,
  rank: number,
): Promise<Record<string, TensorValues>> {
  const { svdFactors } = await import("../lib/engine/adapters/factors.ts");
  const factored: Record<string, TensorValues> = { ...tensors };
  for (const [nameA, tensorA] of Object.entries(tensors)) {
    if (!nameA.endsWith(".lora_A.weight")) continue;
    const nameB = nameA.replace(/A\.weight$/, "B.weight");
    const tensorB = tensors[nameB]!;
    const { a, b } = svdFactors({
      a: tensorA.values as Float32Array,
      b: tensorB.values as Float32Array,
    }, rank);
    factored[nameA] = { shape: tensorA.shape, values: a };
    factored[nameB] = { shape: tensorB.shape, values: b };
  }
  return factored;
}
