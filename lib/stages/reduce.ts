import { readAdapter, writeAdapter } from "../peft/adapter.ts";
import type { AdapterTensors } from "../engine/adapters/adapter.ts";
import { kindNamed, sortAdapter } from "../engine/adapters/registry.ts";
import { fixed } from "../engine/schedules/fixed.ts";
import {
  methodName,
  provenanceOf,
  type Reduction,
} from "../engine/schedules/registry.ts";
import type { InputArtifact, Stage } from "../pipeline/task.ts";

/** Makes the LoRA of a stage serve every rank up to its own and writes an artifact of kind `adapter`. */
export async function reduce(
  { params: { by }, inputs, output }: Stage<
    { readonly by: typeof Reduction.options[number] },
    { readonly adapter: InputArtifact }
  >,
): Promise<void> {
  const adapter = await readAdapter(inputs.adapter.path);
  const { training } = adapter;
  const { reducedBy, heads } = training;
  if (training.method.name !== fixed.name || reducedBy !== null || heads) {
    throw new SyntaxError(
      `An adapter of method "${
        methodName(provenanceOf(training))
      }" cannot be reduced: connect a stage of the task "train-lora", or "import-adapter" of a LoRA`,
    );
  }
  const reduced = (tensors: AdapterTensors) =>
    by === "svd" ? sortAdapter(kindNamed(training.adapter), tensors) : tensors;
  await writeAdapter(output, {
    ...adapter,
    training: { ...training, reducedBy: by },
    tensors: reduced(adapter.tensors),
    best: adapter.best && reduced(adapter.best),
  });
}
