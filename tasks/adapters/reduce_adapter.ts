import type { TensorValues } from "../../lib/engine/safetensors/writer.ts";
import { svdFactors } from "../../lib/engine/adapters/svd_factors.ts";
import type { Stage } from "../../lib/pipeline/task.ts";
import { readAdapter, writeAdapter } from "../artifacts/adapter.ts";
import type { AdapterTensors } from "../artifacts/peft_files.ts";

/** How an adapter is reduced. */
export interface Reduction {
  readonly by: "truncation" | "svd";
}

/**
 * Makes a stage's LoRA adapter serve every rank up to its own, and writes it
 * as the stage's artifact: at rank b its first b rows of A and columns of B
 * are used, with the scale that it was trained with.
 *
 * @throws {SyntaxError} If the adapter is not a LoRA of one rank.
 */
export async function reduceAdapter(stage: Stage<Reduction>): Promise<void> {
  const { by } = stage.params;
  const adapter = await readAdapter(stage.inputs.adapter![0]!.path);
  const { method, rank } = adapter.training;
  if (method !== "lora") {
    throw new SyntaxError(
      `The adapter's method is "${method}", and only "lora" can be reduced: it is trained for one rank. Connect a stage of train-lora`,
    );
  }
  const reduced = (tensors: AdapterTensors) =>
    by === "svd" ? factoredTensors(tensors, rank) : tensors;
  await writeAdapter(stage.output, {
    ...adapter,
    training: {
      ...adapter.training,
      method: by === "svd" ? "lora-svd" : "lora-truncated",
      scaling: "maximum",
    },
    tensors: reduced(adapter.tensors),
    best: adapter.best && reduced(adapter.best),
  });
}

/** The tensors with those of each `lora_A` and `lora_B` in the order of their singular values. */
function factoredTensors(
  tensors: AdapterTensors,
  rank: number,
): Record<string, TensorValues> {
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
