import type * as tf from "@tensorflow/tfjs-core";
import { libraryBinding, tensorIds, writtenTensor } from "../backend.ts";
import { elementCount, type SafetensorsFile } from "../safetensors/reader.ts";
import type { Model } from "./model.ts";
import { encoderProducts } from "./outline.ts";
import { tensorReader } from "./parameters.ts";

/** Frozen weights of an encoder, as the products of its forward pass take them. */
export interface FrozenWeights {
  /** Tables and normalizations by the names of their tensors. */
  readonly tensors: ReadonlyMap<string, tf.Tensor>;
  /** The linear modules of each product, joined: by the name of the first of them. */
  readonly products: ReadonlyMap<string, FrozenProduct>;
}

/** Linear modules on the same input, as one. */
export interface FrozenProduct {
  readonly modules: readonly string[];
  /** Outputs of each of them. */
  readonly outputs: readonly number[];
  /** `[sum of out, in]` */
  readonly weight: tf.Tensor2D;
  /** `[sum of out]`, or undefined if the modules have none */
  readonly bias: tf.Tensor1D | undefined;
}

/**
 * Loads a model's encoder, frozen, tensor by tensor. The engine must have been
 * started.
 *
 * @throws {SyntaxError} Naming the tensor that is missing or has another shape.
 */
export function loadFrozen(
  file: SafetensorsFile,
  model: Model,
): FrozenWeights {
  const read = tensorReader(file, model);
  const products = new Map<string, FrozenProduct>();
  const ofProducts = new Set<string>();
  for (const modules of encoderProducts(model)) {
    const join = (kind: "weight" | "bias") => {
      const names = modules.map((module) => `${module}.${kind}`);
      const shapes = names.map((name) => model.tensors.get(name)!);
      const rows = shapes.reduce((sum, [rows]) => sum + rows!, 0);
      return writtenTensor([rows, ...shapes[0]!.slice(1)], (values) => {
        let offset = 0;
        names.forEach((name, i) => {
          const end = offset + elementCount(shapes[i]!);
          read(name, shapes[i]!, values.subarray(offset, end));
          ofProducts.add(name);
          offset = end;
        });
      });
    };
    products.set(modules[0]!, {
      modules,
      outputs: modules.map((name) => model.tensors.get(`${name}.weight`)![0]!),
      weight: narrowed(join("weight") as tf.Tensor2D),
      bias: model.tensors.has(`${modules[0]}.bias`)
        ? join("bias") as tf.Tensor1D
        : undefined,
    });
  }
  const tensors = new Map<string, tf.Tensor>();
  for (const [name, shape] of model.tensors) {
    if (ofProducts.has(name)) continue;
    let isExact = false;
    const tensor = writtenTensor([...shape], (values) => {
      read(name, shape, values);
      isExact = shape.length === 2 && isBfloat16(values);
    });
    // Tables are looked up in the type in which they are stored.
    tensors.set(name, isExact ? narrowed(tensor) : tensor);
  }
  return { tensors, products };
}

/** Whether bfloat16 has all of these values. */
function isBfloat16({ buffer, byteOffset, length }: Float32Array): boolean {
  return new Uint32Array(buffer, byteOffset, length)
    .every((bits) => (bits & 0xffff) === 0);
}

/** A matrix in the type in which products take it. */
function narrowed<T extends tf.Tensor>(matrix: T): T {
  const binding = libraryBinding();
  if (binding?.precision === "bf16") binding.narrow(tensorIds([matrix])[0]!);
  return matrix;
}
