import { join } from "node:path";
import { readModel } from "../../lib/artifacts/model.ts";
import type { AdapterTensors } from "../../lib/engine/adapters/adapter.ts";
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
