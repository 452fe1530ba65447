import * as tf from "@tensorflow/tfjs-core";
import { storedForProducts, writtenTensor } from "../backend.ts";
import {
  adaptedLinear,
  type AdapterBlock,
  type RankVectors,
} from "../ops/adapted_linear.ts";
import { dropout, type DropoutSource } from "../ops/dropout.ts";
import type { LayerNorm } from "../ops/layer_norm.ts";
import { elementCount, type SafetensorsFile } from "../safetensors/reader.ts";
import type {
  Model,
  Narrowing,
  NormOptions,
  ParameterLayout,
} from "./model.ts";
import { encoderProducts } from "./outline.ts";
import { storedTensors } from "./parameters.ts";

/**
 * Frozen weights of an encoder, as the products of its forward pass take them.
 */
export interface FrozenWeights {
  /** Tables and normalizations by the names of their tensors. */
  readonly tensors: ReadonlyMap<string, tf.Tensor>;
  /** The linear modules of each product, joined. */
  readonly products: readonly FrozenProduct[];
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
  const { read } = storedTensors(file, model);
  const ofProducts = new Set<string>();
  const products = encoderProducts(model).map((modules): FrozenProduct => {
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
    return {
      modules,
      outputs: modules.map((name) => model.tensors.get(`${name}.weight`)![0]!),
      weight: storedForProducts(join("weight") as tf.Tensor2D),
      bias: model.tensors.has(`${modules[0]}.bias`)
        ? join("bias") as tf.Tensor1D
        : undefined,
    };
  });
  const tensors = new Map<string, tf.Tensor>();
  for (const [name, shape] of model.tensors) {
    if (ofProducts.has(name)) continue;
    let isExact = false;
    const tensor = writtenTensor([...shape], (values) => {
      read(name, shape, values);
      isExact = shape.length === 2 && isBfloat16(values);
    });
    // Tables are looked up in the type in which they are stored.
    tensors.set(name, isExact ? storedForProducts(tensor) : tensor);
  }
  return { tensors, products };
}

/** Whether bfloat16 has all of these values. */
function isBfloat16({ buffer, byteOffset, length }: Float32Array): boolean {
  return new Uint32Array(buffer, byteOffset, length)
    .every((bits) => (bits & 0xffff) === 0);
}

/** The ranks in use in a model. */
export interface ModelRanks extends RankVectors {
  /**
   * True if each sequence has a rank of its own, so that `scale` is
   * `[sequences, rank]`, instead of every sequence being computed at all of
   * them.
   */
  readonly perExample?: boolean;
}

/** Number of ranks at which each sequence is computed. */
export function rankCount(
  { scale, perExample }: ModelRanks,
): number {
  return perExample ? 1 : scale.shape[0];
}

/** The tensors that a forward pass uses. */
export interface PassTensors {
  /** Undefined where the encoder's weights are among the parameters. */
  readonly weights: FrozenWeights | undefined;
  readonly layout: ParameterLayout;
  /** The trained tensors by name. */
  readonly parameters: Readonly<Record<string, tf.Tensor>>;
  readonly ranks: ModelRanks;
  /** Keys of dropout masks; undefined switches dropout off. */
  readonly keys?: DropoutSource["keys"] | undefined;
}

/** A tensor of a forward pass. */
export interface Activation extends Narrowing<Activation> {
  /**
   * `[sequences * tokens, width]`, or heads:
   * `[sequences, heads, tokens, depth]`; that of linear modules is computed
   * when it is used.
   */
  readonly value: tf.Tensor;
  /**
   * Of linear modules, for an operation that follows to add the bias, and apply
   * the dropout, in a fused loop.
   */
  pending?(): PendingLinear;
  /** Of linear modules, the same with a dropout. */
  dropped?(source: DropoutSource | undefined): Activation;
  /** Sequences at one rank. */
  readonly sequences: number;
  readonly tokens: number;
  /**
   * Position of the only token in each sequence, `[batch]`, where that is not
   * the first.
   */
  readonly at?: tf.Tensor1D | undefined;
}

/** A product, and what is still to be applied to it. */
export interface PendingLinear {
  readonly product: tf.Tensor2D;
  readonly bias?: tf.Tensor1D | undefined;
  readonly source?: DropoutSource | undefined;
}

/**
 * The tensors behind the names of a forward pass: frozen, with adapters at the
 * ranks in use, or trained themselves.
 */
export class PassWeights {
  readonly #adapted: ReadonlySet<string>;

  constructor(private readonly tensors: PassTensors) {
    this.#adapted = new Set(tensors.layout.modules.map(({ name }) => name));
  }

  /** Output of linear modules side by side, computed when it is used. */
  linear(
    modules: readonly string[],
    x: Activation,
    source?: DropoutSource,
  ): Activation {
    let computed: tf.Tensor | undefined;
    const compute = () => {
      const { product, bias } = this.#product(modules, x, true);
      return dropout(bias === undefined ? product : product.add(bias), source);
    };
    return {
      sequences: x.sequences,
      tokens: x.tokens,
      at: x.at,
      read: x.read,
      get value() {
        computed ??= compute();
        return computed;
      },
      pending: () => ({ ...this.#product(modules, x), source }),
      dropped: (source) => this.linear(modules, x, source),
    };
  }

  /**
   * Outputs of several modules side by side. The bias of frozen modules is not
   * added, but returned for the caller to add.
   *
   * @param withBias True to add the bias of adapted modules here
   */
  #product(
    modules: readonly string[],
    x: Activation,
    withBias = false,
  ): PendingLinear {
    const { parameters, ranks, layout, keys } = this.tensors;
    const input = x.value as tf.Tensor2D;
    if (parameters[`${modules[0]}.weight`] !== undefined) {
      const outputs = modules.map((module) => {
        const weight = parameters[`${module}.weight`]!;
        const bias = parameters[`${module}.bias`];
        if (weight.rank === 3) return productByRank(input, weight, bias);
        const product = input.matMul(weight, false, true) as tf.Tensor2D;
        return bias === undefined ? product : product.add<tf.Tensor2D>(bias);
      });
      return {
        product: outputs.length === 1 ? outputs[0]! : tf.concat(outputs, 1),
        bias: undefined,
      };
    }
    const frozen = this.#frozen(modules);
    const { bias } = frozen;
    const blocks = this.#adapters(frozen);
    if (blocks.length === 0) {
      return { product: tf.matMul(input, frozen.weight, false, true), bias };
    }
    return {
      product: adaptedLinear(input, frozen.weight, blocks, {
        ranks,
        bias: withBias ? bias : undefined,
        rows: ranks.perExample ? x.tokens : x.sequences * x.tokens,
        dropout: keys && { rate: layout.loraDropout, keys },
      }),
      bias: withBias ? undefined : bias,
    };
  }

  /**
   * The joined weights of several modules, which may be a part of a product
   * that was loaded.
   */
  #frozen(modules: readonly string[]): FrozenProduct {
    const joined = this.tensors.weights?.products
      .find((it) => it.modules.includes(modules[0]!));
    const start = joined?.modules.indexOf(modules[0]!) ?? 0;
    const end = start + modules.length;
    if (joined?.modules.slice(start, end).join() !== modules.join()) {
      const names = modules.map((name) => `"${name}"`).join(", ");
      throw new TypeError(`No weights were loaded for ${names} as one product`);
    }
    if (joined.modules.length === modules.length) return joined;
    const sum = (sizes: readonly number[]) => sizes.reduce((a, b) => a + b, 0);
    const outputs = joined.outputs.slice(start, end);
    const from = sum(joined.outputs.slice(0, start));
    const size = sum(outputs);
    return {
      modules,
      outputs,
      weight: joined.weight.slice([from, 0], [size, -1]),
      bias: joined.bias?.slice([from], [size]),
    };
  }

  #adapters({ modules, outputs }: FrozenProduct): AdapterBlock[] {
    const { parameters, layout } = this.tensors;
    let end = 0;
    return modules.flatMap((name, i) => {
      const width = outputs[i]!;
      end += width;
      if (!this.#adapted.has(name)) return [];
      const factors = layout.kind.factors((it) => parameters[`${name}.${it}`]!);
      return { ...factors, offset: end - width, width };
    });
  }

  /**
   * A tensor that is frozen or trained; undefined if there is none of this
   * name.
   */
  tensor(name: string): tf.Tensor | undefined {
    const { weights, parameters } = this.tensors;
    return weights?.tensors.get(name) ?? parameters[name];
  }

  table(name: string): tf.Tensor2D {
    return this.tensor(`${name}.weight`) as tf.Tensor2D;
  }

  norm(
    name: string,
    { form, epsilon }: Pick<NormOptions, "form" | "epsilon">,
  ): LayerNorm {
    const gamma = this.tensor(`${name}.weight`) as tf.Tensor1D;
    if (form === "rms") return { gamma, beta: undefined, epsilon };
    const beta = this.tensor(`${name}.bias`) ?? tf.zeros(gamma.shape);
    return { gamma, beta: beta as tf.Tensor1D, epsilon };
  }
}

/**
 * `x W^T + b` with a weight and a bias for each rank.
 *
 * @param x `[ranks * rows, in]`
 * @param weight `[ranks, out, in]`
 * @param bias `[ranks, out]`
 * @returns `[ranks * rows, out]`
 */
function productByRank(
  x: tf.Tensor2D,
  weight: tf.Tensor,
  bias: tf.Tensor | undefined,
): tf.Tensor2D {
  const [ranks, outputs, inputs] = weight.shape as [number, number, number];
  const product = x.reshape([ranks, -1, inputs]).matMul(weight, false, true);
  const sum = bias === undefined ? product : product.add(bias.expandDims(1));
  return sum.reshape([-1, outputs]);
}
