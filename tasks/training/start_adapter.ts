import type { Classifier } from "../../lib/engine/classifier.ts";
import { parameterLayout } from "../../lib/engine/parameters.ts";
import type { Adapter } from "../artifacts/adapter.ts";
import type { AdapterRecord } from "../artifacts/adapter_record.ts";
import type { ModelOrigin } from "../artifacts/model.ts";
import { adapterValues } from "./adapter_values.ts";

/**
 * Parameters at the start of a training that goes on from another one: its
 * adapters, and the head as it is, since the other's classes are others.
 *
 * @param initial Flat parameters with a fresh head, `[size]`
 * @throws {RangeError} If the other adapter has another rank, alpha or model, or both are DyLoRA's and scale the ranks otherwise.
 * @throws {SyntaxError} Naming the tensor, if it does not fit the model.
 */
export function startFrom(
  { baseModel, training, tensors }: Omit<Adapter, "best">,
  initial: Float32Array,
  { config, layout }: Pick<Classifier, "config" | "layout">,
  own:
    & Pick<Adapter, "baseModel">
    & Pick<AdapterRecord, "method" | "alpha" | "scaling">,
): Float32Array {
  for (
    const [name, found, expected] of [
      ["rank", training.rank, layout.rank],
      ["alpha", training.alpha, own.alpha],
      ["scaling", scalingOf(training), scalingOf(own)],
      ["model", nameOf(baseModel), nameOf(own.baseModel)],
    ] as const
  ) {
    const known = found !== undefined && expected !== undefined;
    if (known && found !== expected) {
      throw new RangeError(
        `The adapter of the input "start" has ${name} ${found}, but this training has ${expected}: give both the same ${name}`,
      );
    }
  }
  const labels = training.labels?.length ?? 1;
  const start = adapterValues({ tensors }, {
    config,
    layout: parameterLayout(config, layout.rank, labels),
  });
  const values = initial.slice();
  values.set(start.subarray(0, layout.adapterSize));
  return values;
}

/** How DyLoRA scales the ranks; the others have no choice. */
function scalingOf(
  { method, scaling }: Pick<AdapterRecord, "method" | "scaling">,
): string | undefined {
  return method === "dylora" ? scaling : undefined;
}

function nameOf(origin: ModelOrigin | undefined): string | undefined {
  return origin &&
    (origin.revision ? `${origin.name}@${origin.revision}` : origin.name);
}
