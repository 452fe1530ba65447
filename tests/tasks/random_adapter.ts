import { join } from "node:path";
import { parseEncoderConfig } from "../../lib/engine/config.ts";
import {
  initialParameters,
  parameterLayout,
} from "../../lib/engine/parameters.ts";
import { toPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import { normal, seededRandom } from "../../lib/engine/random.ts";
import type { AdapterTensors } from "../../lib/artifacts/adapter.ts";

/** Tensors of an adapter of random values, none of them zero, for a model folder and two classes. */
export function randomAdapter(model: string, rank: number): AdapterTensors {
  const config = parseEncoderConfig(
    Deno.readTextFileSync(join(model, "config.json")),
  );
  const layout = parameterLayout(config, rank, 2);
  const random = seededRandom(7, "adapter");
  const tensors = toPeftTensors(
    initialParameters(layout, undefined, random),
    layout,
    config.architecture,
    rank,
  );
  for (const [name, { values }] of Object.entries(tensors)) {
    // Logits of a range beside which a tolerance of 1e-4 is small.
    const isLast = /classifier\.(out_proj\.)?weight$/.test(name);
    if (!name.includes(".lora_B.") && !isLast) continue;
    const deviation = isLast ? 0.5 : 0.1;
    for (let i = 0; i < values.length; i++) {
      values[i] = deviation * normal(random);
    }
  }
  return tensors;
}
