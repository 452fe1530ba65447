import { join } from "node:path";
import { readModel } from "../../lib/artifacts/model.ts";
import type { Training } from "../../lib/artifacts/training.ts";
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
import { writeAdapter } from "../../lib/peft/adapter.ts";
import { toPeftNames } from "../../lib/peft/names.ts";
import {
  parameterLayout,
  startValues,
  type TargetModules,
  toTensors,
} from "../../lib/engine/models/parameters.ts";
import type { HeadName } from "../../lib/engine/models/model.ts";
import { normal, seededRandom } from "../../lib/engine/random.ts";
import { SafetensorsFile } from "../../lib/engine/safetensors/reader.ts";
import { problemOf } from "../../lib/problems/registry.ts";
import { REFERENCE_TRAINING } from "./reference_adapter.ts";

/**
 * Writes an adapter of random values for a model folder as an artifact below a
 * folder; gives its path.
 *
 * @param training What differs from {@linkcode REFERENCE_TRAINING}, but for the
 * target modules, which are the model's own
 */
export async function randomAdapterFolder(
  folder: string,
  model: string,
  training: Partial<Training> = {},
): Promise<string> {
  const { targetModules } = readModel(model).architecture;
  const record: Training = {
    ...REFERENCE_TRAINING,
    targetModules: [...targetModules],
    ...training,
  };
  const { head, outputs } = problemOf(record);
  const path = await Deno.makeTempDir({ dir: folder, prefix: "adapter-" });
  await writeAdapter(path, {
    // No repository of the hub: an export names the model's folder.
    baseModel: { name: "tiny", revision: null },
    training: record,
    tensors: randomAdapter(model, record.rank, record.targetModules, outputs, {
      head,
    }),
  });
  return path;
}

/**
 * Tensors of an adapter of random values, none of them zero, for a model
 * folder.
 */
export function randomAdapter(
  folder: string,
  rank: number,
  targetModules?: TargetModules,
  outputs = 2,
  { adapter, head = "sequence" }: {
    readonly adapter?: string;
    readonly head?: HeadName;
  } = {},
): AdapterTensors {
  const model = readModel(folder, head);
  const layout = parameterLayout(model, outputs, {
    adapter,
    rank,
    targetModules,
  });
  const random = seededRandom(7, "adapter");
  using file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const tensors = toPeftNames(
    toTensors(startValues(file, { model, layout }, 7), layout),
    model,
  );
  for (const [name, { values }] of Object.entries(tensors)) {
    if (name.endsWith(".lora_magnitude_vector")) {
      for (let i = 0; i < values.length; i++) {
        values[i]! *= 1 + 0.2 * normal(random);
      }
    }
    // Logits of a range beside which a tolerance of 1e-4 is small.
    const isLast = /(classifier\.(out_proj\.)?|score\.)weight$/.test(name);
    if (!name.includes(".lora_B.") && !isLast) continue;
    const deviation = isLast ? 0.5 : 0.1;
    for (let i = 0; i < values.length; i++) {
      values[i] = deviation * normal(random);
    }
  }
  return tensors;
}
