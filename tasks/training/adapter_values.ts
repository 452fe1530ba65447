import type { Classifier } from "../../lib/engine/classifier.ts";
import { fromPeftTensors } from "../../lib/engine/adapters/peft_adapter.ts";
import type { Adapter } from "../artifacts/adapter.ts";

/**
 * The parameters of an adapter in the order of the classifier's layout, flat.
 *
 * @throws {SyntaxError} Naming the tensor, if the adapter was made for another model.
 */
export function adapterValues(
  { tensors }: Pick<Adapter, "tensors">,
  { layout, config }: Pick<Classifier, "layout" | "config">,
): Float32Array {
  const read = (name: string, shape: readonly number[]) => {
    const tensor = tensors[name];
    if (tensor === undefined || String(tensor.shape) !== String(shape)) {
      throw new SyntaxError(
        `The adapter does not fit the model: tensor "${name}" should have shape [${shape}], and ` +
          (tensor === undefined ? "is missing" : `has [${tensor.shape}]`),
      );
    }
    return tensor.values as Float32Array;
  };
  return fromPeftTensors(read, layout, config.architecture);
}
